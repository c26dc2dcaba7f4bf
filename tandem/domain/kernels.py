"""Kernels: which one the next boot takes, and what a failed module build says. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Final


def version_key(version: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Sorts as Debian's version comparison does: numbers by value, letters before the rest, ~ before the end."""
    pairs = re.findall(r"([^0-9]*)([0-9]*)", version)
    return tuple(((*(_weight(character) for character in letters), 0), int(digits or 0)) for letters, digits in pairs)


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def newest(kernels: Iterable[str]) -> str:
    return max(kernels, key=version_key, default="")


def next_kernel(kernels: Sequence[str], grub_default: str, saved_entry: str = "") -> str:
    """The kernel that the next boot takes: the one that GRUB's default names, else the newest; "" without any.

    + kernels: those in /boot
    + grub_default: GRUB_DEFAULT of /etc/default/grub; ``saved`` means saved_entry of grubenv
    """
    wanted = saved_entry if grub_default.strip("\"'") == "saved" else grub_default
    named = [kernel for kernel in kernels if re.search(rf"(?<![\w.+]){re.escape(kernel)}(?![\w.+])", wanted)]
    return max(named, key=len) if named else newest(kernels)


_COMPILER: Final = re.compile(r"^\S+?:\d+(?::\d+)?: (?:fatal )?error: .+")
_OTHER: Final = (
    re.compile(r"^(?:ERROR: modpost: .+|ld(?:\.\S+)?: .+|.+: undefined reference to .+)"),
    re.compile(r"^.*(?:command not found|No such file or directory|No space left on device).*"),
    re.compile(r"^make(?:\[\d+\])?: \*\*\* .+"),
    re.compile(r"^.*\b[Ee]rror\b.*"),
)


def first_error(log: str) -> str:
    """The first compiler error of a make.log, as FILE:LINE: error: WHAT; else the line that says most; "" for none."""
    lines = [line.strip() for line in log.splitlines()]
    for pattern in (_COMPILER, *_OTHER):
        for line in lines:
            if pattern.match(line):
                return line
    return ""
