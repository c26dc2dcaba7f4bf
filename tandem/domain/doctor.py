"""Can this host be provisioned? Pure: what was found -> rows that pass, warn or refuse."""

from collections.abc import Mapping, Sequence
from typing import Any

from tandem.domain.checks import Check, Needs, fail
from tandem.domain.doctor_cards import gpu
from tandem.domain.doctor_sources import sources
from tandem.domain.doctor_system import clock, disks, neighbours, packages, system

MISSING = {
    "python3": (
        "it has no python3, which is all that Tandem needs to begin",
        "run `apt-get install -y python3` there once",
    ),
    "sudo program": (
        "it has no sudo, which every command is run with",
        "run `apt-get install -y sudo` there once",
    ),
    "sudo": (
        "this user can't become root",
        "allow it passwordless sudo, or set ssh_user to root in the inventory",
    ),
}


def checks(needs: Needs, found: Mapping[str, Any]) -> list[Check]:
    """Every row. ``found`` is what ``tandem.hostside.observe_doctor`` answers, and "skew_seconds": how far its clock
    is from this computer's.
    """
    missing = found.get("missing")
    if isinstance(missing, str):
        return [fail(missing, *MISSING[missing])]
    return [
        *system(needs, found),
        *disks(needs, found),
        *clock(needs, found),
        *gpu(needs.cards, found),
        *packages(needs, found),
        *neighbours(needs, found),
        *sources(needs, found),
    ]


def refusals(rows: Sequence[Check]) -> list[str]:
    """One sentence per reason not to go on; [] when there is none."""
    return [row.sentence for row in rows if row.level == "fail"]


def warnings(rows: Sequence[Check]) -> list[str]:
    """One short line per row that warns; the doctor's table says what to do."""
    return [
        f"{row.name}: {row.found}" + (f" (advised: {row.needed})" if row.needed else "")
        for row in rows
        if row.level == "warn"
    ]
