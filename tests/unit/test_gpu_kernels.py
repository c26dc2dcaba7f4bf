"""Which kernel the next boot takes, and what a failed build says."""

from itertools import pairwise
from pathlib import Path

import pytest

from tandem.domain.kernels import first_error, newest, next_kernel, version_key

LOG = Path(__file__).parent / "captures/make-550.163.01-kernel-6.12.117.log"
OLD, NEW = "6.12.43+deb13-amd64", "6.12.117+deb13-amd64"


def test_versions_sort_as_debian_sorts_them() -> None:
    # The order that `dpkg --compare-versions` gives.
    ordered = ["6.9~rc1", "6.9", "6.9a", "6.9+b", "6.12.9", "6.12.43+deb13-amd64", "6.12.117+deb13-amd64"]
    assert all(version_key(low) < version_key(high) for low, high in pairwise(ordered))
    assert newest([NEW, OLD]) == NEW


@pytest.mark.parametrize(
    ("default", "saved", "kernel"),
    [
        ("0", "", NEW),
        ("", "", NEW),
        (f'"Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux {OLD}"', "", OLD),
        (f"gnulinux-advanced-1234>gnulinux-{OLD}-advanced-1234", "", OLD),
        ("saved", f"gnulinux-{OLD}-advanced-1234", OLD),
        ("saved", "", NEW),
        ("Windows", "", NEW),
    ],
)
def test_the_next_boot_takes_the_kernel_that_grub_names_else_the_newest(default: str, saved: str, kernel: str) -> None:
    assert next_kernel([OLD, NEW], default, saved) == kernel


def test_a_name_that_is_part_of_another_kernels_name_does_not_count() -> None:
    kernels = ["6.1.0-1-amd64", "6.1.0-12-amd64"]
    assert next_kernel(kernels, "Debian GNU/Linux, with Linux 6.1.0-1-amd64", "") == "6.1.0-1-amd64"


def test_no_kernel_is_no_kernel() -> None:
    assert next_kernel([], "0") == ""


def test_the_first_compiler_error_of_a_real_log_is_found() -> None:
    error = first_error(LOG.read_text())
    assert "nv-pci.c:237:9: error: too few arguments to function" in error


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (
            "a.c:1:2: warning: x\nERROR: modpost: GPL-incompatible\nmake: *** [all] Error 2",
            "ERROR: modpost: GPL-incompatible",
        ),
        (
            "make[1]: *** No rule to make target 'modules'.  Stop.",
            "make[1]: *** No rule to make target 'modules'.  Stop.",
        ),
        ("cc: fatal: cannot write: No space left on device", "cc: fatal: cannot write: No space left on device"),
        ("all is well", ""),
    ],
)
def test_where_no_compiler_complains_the_line_that_says_most_is_shown(log: str, error: str) -> None:
    assert first_error(log) == error
