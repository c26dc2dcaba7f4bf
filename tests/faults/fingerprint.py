"""What an install makes of a host, in a form in which two hosts, or two moments of one, can be compared."""

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from tandem.rehearsal import host
from tandem.rehearsal.inventory import STATE
from tests.faults.onhost import OnHost

Fingerprint: TypeAlias = Mapping[str, Mapping[str, str]]
"""Kind (files, packages, units, ...) -> name -> what it is."""

Traces: TypeAlias = Mapping[str, list[int]]
"""Path -> mode, owner, size and inode-change time."""

MOST_SHOWN = 40


def fingerprint(name: str) -> Fingerprint:
    """The fingerprint of rehearsal host ``name``, its own name and addresses replaced by words."""
    one = host.load(STATE, name)
    same = {one.address: "ADDRESS", one.address_v6: "ADDRESS_V6", name: "HOST"}
    found: Fingerprint = OnHost(name).program("fingerprint", same)
    return found


def differences(before: Fingerprint, after: Fingerprint, ignored: Collection[str] = ()) -> list[str]:
    """One line for each thing that is not the same, [] when all is; ``ignored`` names kinds."""
    lines = []
    for kind in sorted((before.keys() | after.keys()) - set(ignored)):
        old, new = before.get(kind, {}), after.get(kind, {})
        lines += [
            f"{kind}: {name}: {old.get(name, 'absent')} -> {new.get(name, 'absent')}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
    return lines


def traces(name: str) -> Traces:
    """Every file of rehearsal host ``name`` with what would give a change away."""
    found: Traces = OnHost(name).program("traces")
    return found


def touched(before: Traces, after: Traces) -> list[str]:
    """The paths that were made, changed or removed between two looks."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def shown(lines: list[Any]) -> str:
    """The first lines, for a failed test."""
    return "\n".join([f"{len(lines)} differences:", *map(str, lines[:MOST_SHOWN])])
