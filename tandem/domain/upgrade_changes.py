"""What differs between two engines: the texts of their units, both rendered for the same slot and card. Pure."""

import shlex
from collections.abc import Iterator, Mapping

SHOWN_APART = ("Image", "Volume")
"""The image and the model's folder: the plan has lines of their own for these."""


def changes(old_unit: str, new_unit: str) -> list[str]:
    """Lines that begin with "- " or "+ ": engine options, environment variables, then other settings of the unit.

    "" for ``old_unit`` (the host does not have it) gives one sentence instead.
    """
    if not old_unit.strip():
        return ["not known: the unit of the old release is not on the host"]
    lines = []
    for read in (options, _environment, _settings):
        lines += list(_differing(read(old_unit), read(new_unit)))
    return lines


def options(unit: str) -> dict[str, str]:
    """{"--NAME": value} of the engine's command line; the value of a switch is ""."""
    line = next((value for name, value in _lines(unit) if name == "Exec"), "")
    found: dict[str, str] = {}
    name = ""
    # Quadlet lines double the percent and dollar signs that are meant as such.
    for word in shlex.split(line.replace("%%", "%").replace("$$", "$")):
        if word.startswith("--"):
            name = word
            found[name] = ""
        elif name:
            found[name] = f"{found[name]} {word}".strip()
    return found


def arguments(unit: str) -> dict[str, str | bool]:
    """The command line as a release declares it: names without the leading --, True for a switch."""
    return {name.removeprefix("--"): value or True for name, value in options(unit).items()}


def image(unit: str) -> str:
    """The image that the unit runs; "" when it names none."""
    return next((value for name, value in _lines(unit) if name == "Image"), "")


def revision(unit: str) -> str:
    """The model revision that the unit serves: the name of the folder that it mounts; "" when it mounts none."""
    folder = next((value for name, value in _lines(unit) if name == "Volume" and value.endswith(":/model:ro")), "")
    return folder.removesuffix(":/model:ro").rpartition("/")[2]


def _environment(unit: str) -> dict[str, str]:
    words = (value.strip('"').partition("=") for name, value in _lines(unit) if name == "Environment")
    return {f"{name}=": value for name, _, value in words}


def _settings(unit: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _lines(unit):
        if name not in ("Exec", "Environment", *SHOWN_APART):
            found[f"{name}="] = " ".join([found[f"{name}="], value]) if f"{name}=" in found else value
    return found


def _lines(unit: str) -> Iterator[tuple[str, str]]:
    for line in unit.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            yield name.strip(), value.strip()


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        for sign, given in (("-", old), ("+", new)):
            if name in given:
                between = "" if name.endswith("=") or not given[name] else " "
                yield f"{sign} {name}{between}{given[name]}"
