"""Files on the operator's machine that the configuration names: read, and put in the place of their path."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tandem.config.case_files import read
from tandem.config.comparison import Unusable
from tandem.config.errors import ConfigError
from tandem.domain.prompts import Prompt, parse

PROMPTS = "prompts"
"""The folder that is read where none is named."""

CASES = "cases"
"""The folder of comparison cases that is read where none is named."""

_ARMOUR = "-----BEGIN"


def inlined(values: Mapping[str, Any], host: str) -> dict[str, Any]:
    """``values`` with every manifest, key and prompt read. Paths are relative to the folder that pyinfra runs in.

    Raises ConfigError that names the option and the file; anything that is not a path is left for validation.
    """
    found = dict(values)
    try:
        found["releases"] = _each(values.get("releases"), lambda one: _below(one, "model", "manifest", _manifest))
        gpu = values.get("gpu")
        if isinstance(gpu, Mapping) and isinstance(gpu.get("repositories"), list | tuple):
            found["gpu"] = {**gpu, "repositories": [_at(one, "key", _key) for one in gpu["repositories"]]}
        found["edge"] = _below(values.get("edge"), "certificate", "certificate", _certificates)
        found["edge"] = _below(found["edge"], "certificate", "authority", _certificates)
        webui = values.get("webui")
        if isinstance(webui, Mapping):
            found["webui"] = {**webui, "prompts": _prompts(webui.get("prompts", PROMPTS))}
        found["upgrade"] = _with_cases(values.get("upgrade", {}))
        found["bundle"] = _at(values.get("bundle"), "key", _key)
    except OSError as error:
        raise ConfigError(
            f"{error.filename} can't be read ({error.strerror}); the configuration names it. "
            f"Nothing was changed on {host}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{error}; nothing was changed on {host}") from None
    return {name: value for name, value in found.items() if name in values or name == "upgrade"}


def _each(values: Any, change: Callable[[Any], Any]) -> Any:
    return {name: change(one) for name, one in values.items()} if isinstance(values, Mapping) else values


def _at(value: Any, name: str, read: Callable[[str], Any]) -> Any:
    if isinstance(value, Mapping) and isinstance(value.get(name), str):
        return {**value, name: read(value[name])}
    return value


def _below(value: Any, outer: str, name: str, read: Callable[[str], Any]) -> Any:
    return {**value, outer: _at(value[outer], name, read)} if isinstance(value, Mapping) and outer in value else value


def _manifest(path: str) -> Any:
    text = Path(path).expanduser().read_text()
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not a manifest ({error}): make it anew with python -m tandem.manifest") from None


def _key(path: str) -> str:
    return path if path.startswith(_ARMOUR) else Path(path).expanduser().read_text()


def _certificates(path: str) -> str:
    """From the first one on: tools write all kinds of notes before it."""
    text = _key(path)
    return text[max(text.find(_ARMOUR), 0) :]


def _with_cases(upgrade: Any) -> Any:
    """The comparison's cases in the place of their files and folders; what is wrong with them stands there instead."""
    if not isinstance(upgrade, Mapping) or not isinstance(upgrade.get("comparison", {}), Mapping):
        return upgrade
    comparison = upgrade.get("comparison", {})
    named = comparison.get("cases", [CASES])
    if not isinstance(named, list | tuple) or not all(isinstance(path, str) for path in named):
        return upgrade
    try:
        cases: list[Any] = list(read([Path(path).expanduser() for path in named]))
    except ConfigError as error:
        cases = [Unusable(line.strip()) for line in str(error).splitlines()[1:]]
    return {**upgrade, "comparison": {**comparison, "cases": cases}}


def _prompts(folder: Any) -> Any:
    """Every prompt in a folder; its other files are not looked at."""
    if folder is None:
        return []
    if not isinstance(folder, str):
        return folder
    found: dict[str, Prompt] = {}
    for name in sorted(os.listdir(Path(folder).expanduser())):
        if not name.endswith(".md"):
            continue
        path = Path(folder).expanduser() / name
        try:
            prompt = parse(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text") from None
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None
        if prompt.command in found:
            raise ValueError(f"{path} has the command {prompt.command!r} of another file there; give each its own")
        found[prompt.command] = prompt
    return [asdict(prompt) for prompt in found.values()]
