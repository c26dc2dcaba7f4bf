"""The parts of a restore: data made Open WebUI's own, what belongs to this host put into it, secrets taken over."""

import ctypes
import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tandem.domain.backup import CONFIG, WEBUI, Manifest, Spoilt
from tandem.domain.secrets import files
from tandem.hostside import backup_scratch, certificates, gate, secrets, sqlite_copy, x509
from tandem.hostside.paths import Paths
from tandem.hostside.secret_files import Store
from tandem.hostside.secret_texts import derive

TAKEN: Final = ("gate_secret", "gate_secret_previous", "webui_admin_password", "webui_secret_key")
"""Beside people's passwords and keys. upstream_key stays: the engines here run with their own, and nobody knows it."""

AUTHORITY: Final = (certificates.OWN_CA_KEY, certificates.OWN_CA)
FORM: Final = r"[!-~]{12,200}"
AT_FDCWD: Final = -100
RENAME_EXCHANGE: Final = 2


def own(data: Path, manifest: Manifest, uid: int) -> None:
    """Give every file its mode from the manifest, and all of it to the user ``uid``. Raises Spoilt without data."""
    if not (data / "webui.db").is_file():
        raise Spoilt("it holds no database of Open WebUI")
    for at, folders, names in os.walk(data):
        for name in names:
            path = Path(at) / name
            path.chmod(int(manifest.files[f"{WEBUI}/{path.relative_to(data)}"].mode, 8) | 0o600)
            os.chown(path, uid, uid)
        for name in folders:
            os.chown(Path(at) / name, uid, uid)
    os.chown(data, uid, uid)
    data.chmod(0o700)


def adapt(database: Path, backup: Path, upstream_key: Path, environment: Mapping[str, str]) -> None:
    """Open WebUI keeps its settings in the database, and those win over its environment: the other host's key for the
    engines and its address become this host's. Raises NotCopied, Spoilt.
    """
    exchanged = [(secret(backup / "secrets", "upstream_key"), upstream_key.read_text(encoding="ascii").strip())]
    for unit in sorted((backup / CONFIG / "etc/containers/systemd").glob("open-webui-*.container")):
        there = backup_scratch.unit_of(unit.read_text(encoding="utf-8")).environment.get("WEBUI_URL")
        here = environment.get("WEBUI_URL")
        if there and here:
            exchanged.append((json.dumps(there), json.dumps(here)))
    columns = [row[1] for row in sqlite_copy.ask(database, [("PRAGMA table_info(config)", [])])[0]]
    statements = [
        # The names are the database's own.
        (f'UPDATE config SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)', [old, new, old])  # noqa: S608
        for column in columns
        if column in ("value", "data")
        for old, new in exchanged
    ]
    sqlite_copy.ask(database, statements)


def put_secrets(paths: Paths, there: Path) -> list[str]:
    """Take over what people and programs know, and the authority that browsers trust; sentences of what was not.

    Everything that is derived from it follows, and the gate is told. Raises Spoilt for a secret that can't be one,
    before anything is written.
    """
    store = secrets.opened(paths.secrets)
    names = [*TAKEN, *(f"passwords/{user}" for user in store.users), *(f"keys/{client}" for client in store.clients)]
    values = {name: secret(there, name) for name in names if (there / name).exists()}
    for name in values:
        if "/" in name:
            secrets.check_form(name, values[name])
    authority = _authority(there)
    serves = certificates.current(store)
    own = serves is not None and certificates.is_own(store, serves)
    for name, value in values.items():
        store.write(name, f"{value}\n")
    for name, text in authority.items():
        store.write(name, text)
    _settle(paths, store, own)
    others = [
        f"{folder}/{path.name}"
        for folder in ("passwords", "keys")
        for path in sorted((there / folder).glob("*"))
        if f"{folder}/{path.name}" not in names
    ]
    return [f"left out {name}: the inventory of this host does not name it" for name in others]


def put_back(paths: Paths, old: Path) -> None:
    """The secrets as they were before."""
    store = secrets.opened(paths.secrets)
    known = {name for name, *_ in files(store.users, store.clients)}
    for path in sorted(old.rglob("*")):
        name = str(path.relative_to(old))
        if path.is_file() and name in known:
            store.write(name, path.read_text(encoding="utf-8"))
    store.repair_rights()
    gate.tell(paths)


def secret(folder: Path, name: str) -> str:
    """Raises Spoilt for one that is missing or could not stand in a configuration file."""
    try:
        value = (folder / name).read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        raise Spoilt(f"it holds no secret {name}") from None
    if not re.fullmatch(FORM, value):
        raise Spoilt(f"its secret {name} is none")
    return value


def exchange(one: Path, other: Path) -> None:
    """Two folders change places in one step: there is no moment without either."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def _authority(there: Path) -> dict[str, str]:
    texts = {name: (there / name) for name in AUTHORITY}
    if not all(path.is_file() for path in texts.values()):
        return {}
    key, certificate = (path.read_text(encoding="ascii") for path in texts.values())
    try:
        if x509.public_key(x509.private_key(key) or "") != x509.read(certificate).public_key:
            raise Spoilt("its authority's key and certificate do not belong together")
    except (ValueError, subprocess.SubprocessError):
        raise Spoilt("its authority's certificate is none") from None
    return {certificates.OWN_CA_KEY: key, certificates.OWN_CA: certificate}


def _settle(paths: Paths, store: Store, own: bool) -> None:
    """``own``: the authority that was replaced had signed what is served, also what stands in for one by ACME."""
    derive(store)
    wanted = json.loads(paths.certificate.read_text(encoding="utf-8"))
    certificates.settle(store, wanted["names"], {"kind": "generated"} if own else wanted["certificate"], {})
    store.repair_rights()
    gate.tell(paths)
