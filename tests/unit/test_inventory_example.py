"""The example inventory is the reference of every option: it loads, it is complete, and it shows the real defaults."""

import ast
import re
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from tandem.config import Config, load
from tandem.config.cases import Case
from tandem.config.placeholders import placeholders

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "group_data/prod.py").read_text()
WITH_ALTERNATIVES = re.sub(r"^(\s*)#: ", r"\1", EXAMPLE, flags=re.MULTILINE)
WITH_OTHERS = re.sub(r"^(\s*)# or: ", r"\1", EXAMPLE, flags=re.MULTILINE)

SHOWN_WITH_A_VALUE = {
    "ComparisonConfig.cases",
    "Config.storage",
    "Config.upgrade",
    "GpuConfig.repositories",
    "Release.arguments",
    "Release.environment",
    "UpgradeConfig.comparison",
    "WebuiConfig.prompts",
}
"""Options whose default is nothing at all, which would show nothing, and what holds them."""


def values(text: str) -> dict[str, Any]:
    """What pyinfra takes from a group data file: its names, here literals only (ValueError otherwise)."""
    found = {}
    for statement in ast.parse(text).body[1:]:
        assert isinstance(statement, ast.Assign)
        (target,) = statement.targets
        assert isinstance(target, ast.Name)
        found[target.id] = ast.literal_eval(statement.value)
    return found


def models_in(annotation: Any) -> set[type[BaseModel]]:
    """All models that ``annotation`` can hold, with those in their fields.

    Not those of comparison cases: they stand in files of their own, which explain them.
    """
    if annotation is Case:
        return set()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        below = (models_in(field.annotation) for field in annotation.model_fields.values())
        return {annotation}.union(*below)
    if get_origin(annotation) in (Annotated, Union, UnionType, tuple, dict):
        return set().union(*(models_in(part) for part in get_args(annotation)))
    return set()


def given_in(value: object) -> set[str]:
    """MODEL.FIELD for every field that was given, not defaulted."""
    if isinstance(value, BaseModel) and not isinstance(value, Case):
        own = {f"{type(value).__name__}.{name}" for name in value.model_fields_set}
        return own.union(*(given_in(getattr(value, name)) for name in value.model_fields_set))
    members = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return set().union(*(given_in(member) for member in members))


def differences_in(value: object) -> set[str]:
    """MODEL.FIELD for every given field that differs from its default."""
    if isinstance(value, BaseModel) and not isinstance(value, Case):
        found = set()
        for name in value.model_fields_set:
            field, given = type(value).model_fields[name], getattr(value, name)
            if not field.is_required() and given != field.default:
                found.add(f"{type(value).__name__}.{name}")
            found |= differences_in(given)
        return found
    members = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return set().union(*(differences_in(member) for member in members))


@pytest.mark.parametrize("text", [EXAMPLE, WITH_ALTERNATIVES, WITH_OTHERS], ids=["as it is", "alternatives", "others"])
def test_the_example_loads(text: str) -> None:
    everyone = values((ROOT / "group_data/all.py").read_text())
    assert load(everyone | values(text), host="gpu1").release == "2026.11"


def test_the_example_shows_every_option() -> None:
    every = {f"{model.__name__}.{name}" for model in models_in(Config) for name in model.model_fields}
    shown = (given_in(load(values(text), host="gpu1")) for text in (EXAMPLE, WITH_ALTERNATIVES, WITH_OTHERS))
    assert set().union(*shown) == every


def test_the_example_shows_the_defaults_as_they_are() -> None:
    assert differences_in(load(values(EXAMPLE), host="gpu1")) <= SHOWN_WITH_A_VALUE


def test_every_option_has_a_description() -> None:
    silent = [
        f"{model.__name__}.{name}"
        for model in models_in(Config)
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert silent == []


def test_sudo_is_set_for_everyone() -> None:
    assert values((ROOT / "group_data/all.py").read_text()) == {"_sudo": True}


def test_the_inventory_pins_host_keys() -> None:
    hosts = values((ROOT / "inventories/prod.py").read_text())["hosts"]
    assert [name for name, _ in hosts] == ["gpu1"]
    assert hosts[0][1]["ssh_strict_host_key_checking"] == "yes"
    assert hosts[0][1]["ssh_known_hosts_file"]
    assert all(name.startswith("ssh_") for name in hosts[0][1])


def test_every_line_marked_edit_is_refused_while_it_is_the_examples() -> None:
    refused = {line.split(" is still the example's")[0] for line in placeholders(load(values(EXAMPLE), host="gpu1"))}
    assert refused == {
        "releases/2026.11/image",
        "releases/2026.11/model/manifest",
        "gpu/repositories/0/key",
        "storage/device",
        "webui/image",
        "webui/admin_email",
        "edge/server_name",
    }
    assert EXAMPLE.count("# EDIT.") == len(refused)
