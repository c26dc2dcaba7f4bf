"""Makes and repairs the secrets of a host. Runs there as root; standard library, htpasswd and openssl.

Base secrets are one file each; everything else is derived from them and rewritten only when it no longer matches.
No secret is in a command line, a message or an exception.
"""

import hashlib
import hmac
import json
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tandem.domain.rollout import Refused
from tandem.domain.secrets import BASE, EDGE_LOADED, GIVEN
from tandem.domain.secrets import ROOT as ROOT_NAME
from tandem.hostside import certificates
from tandem.hostside.secret_files import Owners, Store

ROOT = Path(ROOT_NAME)
BCRYPT_COST = "6"  # Above 8 a flood of wrong passwords stalls the edge's workers, and with them everybody's streams.

KEY_FORM = (r"[A-Za-z0-9._~+/=-]{16,200}", "16 to 200 letters, digits or ._~+/=-")
PASSWORD_FORM = (r"[!#-&(-\[\]-_a-~]{12,72}", "12 to 72 printable ASCII characters, no spaces, quotes or backslashes")
NAME = r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}|:[0-9A-Fa-f:.]+"
USER = r"[a-z0-9][a-z0-9._-]{0,62}"


class SecretError(Refused):
    """A secret cannot be used; nothing was changed. The text names it and never shows it."""


def ensure(
    root: Path = ROOT,
    *,
    basic_user: str,
    api_client: str,
    names: Sequence[str],
    given: Mapping[str, str],
    owners: Owners | None = None,
) -> list[str]:
    """Make what is missing, take over ``given`` secrets, repair the rest; return the names of what changed.

    ``names``: DNS names and addresses for the certificate, the main one first. ``given``: secret by name, one of
    ``GIVEN``. A second call with the same arguments changes nothing, and a call cut short is finished by the next.
    Raises SecretError before anything is changed, OSError (with the path) when a file cannot be written, and
    subprocess.SubprocessError (no secret in it) when htpasswd or openssl fails.
    """
    wanted = {name: value.rstrip("\r\n") for name, value in given.items()}
    _check(basic_user, api_client, names, wanted)
    store = Store(Path(root), owners or Owners())
    store.make_folders()
    _base(store, basic_user, wanted)
    _derive(store, basic_user, api_client)
    _certificate(store, names)
    _revision(store)
    store.repair_rights()
    return store.changed


def due(root: Path = ROOT, *, scratch: Path = Path("/run"), **order: Any) -> list[str]:
    """What ``ensure`` would change: it is run on a private copy in ``scratch`` (memory on a host), which is removed."""
    with tempfile.TemporaryDirectory(prefix=".tandem-secrets-", dir=scratch) as folder:
        copy = Path(folder) / "secrets"
        if Path(root).is_dir():
            # Owners matter to ensure, and shutil.copytree does not keep them.
            subprocess.run(["cp", "--archive", "--", str(root), str(copy)], check=True, timeout=30)
        return ensure(copy, **order)


def credentials(root: Path = ROOT) -> dict[str, str]:
    """The logins that people need, for the one command that shows them. Raises SecretError if they are not made."""
    store = Store(Path(root), Owners())
    shown = {name: store.secret(name) for name in ("basic_password", "api_key", "webui_admin_password")}
    user = _basic_user(store)
    if not user or not all(shown.values()):
        raise SecretError(f"{root} does not hold all secrets; run install first")
    return {"basic_user": user, **shown, "ca_file": f"{root}/edge/ca.crt"}


def _check(basic_user: str, api_client: str, names: Sequence[str], given: Mapping[str, str]) -> None:
    left = "nothing was changed"
    for program, package in (("htpasswd", "apache2-utils"), ("openssl", "openssl")):
        if not shutil.which(program):
            raise SecretError(f"{program} is not installed; {left}; install the package {package} and run again")
    for name, value in given.items():
        if name not in GIVEN:
            raise SecretError(f"{name!r} cannot be given; these can: {', '.join(GIVEN)}; {left}")
        pattern, form = KEY_FORM if name == "api_key" else PASSWORD_FORM
        if not re.fullmatch(pattern, value):
            raise SecretError(f"the given {name} must be {form}; {left}")
    for label, text in (("basic_user", basic_user), ("api_client", api_client)):
        if not re.fullmatch(USER, text):
            raise SecretError(f"{label} {text!r} must be lowercase letters, digits or ._-; {left}")
    bad = [name for name in names if not re.fullmatch(NAME, name)]
    if bad or not names:
        raise SecretError(f"the certificate needs DNS names or addresses, not {bad or 'an empty list'}; {left}")


def _generate(name: str) -> str:
    if name == "api_key":
        return f"sk-tandem-{secrets.token_hex(24)}"
    return secrets.token_urlsafe(24) if name.endswith("password") else secrets.token_hex(32)


def _base(store: Store, basic_user: str, given: Mapping[str, str]) -> None:
    old_password, old_user = store.secret("basic_password"), _basic_user(store)
    new_password = given.get("basic_password", old_password)
    if (old_password and new_password != old_password) or (old_user and old_user != basic_user):
        # The gate cookie stands for the login: who knew only the old one must not stay in. It goes first, so that
        # a run cut short here does it again.
        store.write("gate", f"{_generate('gate')}\n")
    for name in BASE:
        store.write(name, f"{given.get(name) or store.secret(name) or _generate(name)}\n")


def _basic_user(store: Store) -> str:
    return (store.read("edge/htpasswd") or "").partition(":")[0]


def _derive(store: Store, basic_user: str, api_client: str) -> None:
    api_key, gate, upstream = store.secret("api_key"), store.secret("gate"), store.secret("upstream_key")
    _htpasswd(store, basic_user, store.secret("basic_password"))
    store.write("edge/api_keys.conf", _api_keys(api_client, api_key))
    store.write("edge/gate.conf", _gate(gate))
    store.write("edge/upstream.conf", f'proxy_set_header Authorization "Bearer {upstream}";\n')
    store.write("engine/env", f"VLLM_API_KEY={upstream}\n")
    webui = {
        "OPENAI_API_KEY": upstream,
        "WEBUI_ADMIN_PASSWORD": store.secret("webui_admin_password"),
        "WEBUI_SECRET_KEY": store.secret("webui_secret_key"),
    }
    store.write("webui/env", "".join(f"{name}={value}\n" for name, value in webui.items()))


def _api_keys(client: str, key: str) -> str:
    """A map ignores case; the edge therefore also compares with ``$api_key_canonical``, which does not."""
    return (
        f'map $http_authorization $api_client {{\n    default "";\n    "Bearer {key}" {client};\n}}\n'
        f'map $http_authorization $api_key_canonical {{\n    default "";\n    "Bearer {key}" "Bearer {key}";\n}}\n'
    )


def _gate(gate: str) -> str:
    """The gate is 64 hex digits, so that a map's blindness to case gives nothing away."""
    cookie = f"tandem_gate={gate}; Path=/; Secure; HttpOnly; SameSite=Lax"
    return (
        f'map $cookie_tandem_gate $gate_realm {{\n    default "Tandem";\n    {gate} off;\n}}\n'
        f'map $gate_realm $gate_set_cookie {{\n    default "{cookie}";\n    off "";\n}}\n'
    )


def _htpasswd(store: Store, user: str, password: str) -> None:
    path = store.root / "edge/htpasswd"
    text = store.read("edge/htpasswd") or ""
    one_line = text.startswith(f"{user}:$2y$") and text.count("\n") == 1 and text.endswith("\n")
    if one_line and _run_htpasswd(["-v", "-i", str(path), user], password).returncode == 0:
        return
    made = _run_htpasswd(["-n", "-i", "-B", "-C", BCRYPT_COST, user], password)
    made.check_returncode()
    store.write("edge/htpasswd", made.stdout.strip() + "\n")


def _run_htpasswd(arguments: list[str], password: str) -> "subprocess.CompletedProcess[str]":
    command = ["htpasswd", *arguments]
    return subprocess.run(command, input=f"{password}\n", capture_output=True, text=True, timeout=30, check=False)


def _certificate(store: Store, names: Sequence[str]) -> None:
    ca, ca_key = store.root / "tls/ca.crt", store.root / "tls/ca.key"
    leaf, leaf_key = store.root / "edge/tls.crt", store.root / "edge/tls.key"
    if not certificates.is_good_ca(ca, ca_key):
        key = certificates.new_key()
        certificate = certificates.make_ca(key, names[0])
        store.write("tls/ca.key", key)
        store.write("tls/ca.crt", certificate)
    store.write("edge/ca.crt", ca.read_text(encoding="utf-8"))
    if not certificates.is_good(leaf, leaf_key, ca, names):
        key = certificates.new_key()
        certificate = certificates.make_leaf(key, names, ca, ca_key)
        store.write("edge/tls.key", key)
        store.write("edge/tls.crt", certificate)


def _revision(store: Store) -> None:
    """Keyed with the gate: anyone on the host may ask for this fingerprint, and it must say nothing of its source."""
    loaded = json.dumps([[name, store.read(f"edge/{name}")] for name in EDGE_LOADED])
    revision = hmac.new(store.secret("gate").encode(), loaded.encode(), hashlib.sha256).hexdigest()[:16]
    store.write("edge/revision.conf", f'map "" $secrets_revision {{ default {revision}; }}\n')


def revision(root: Path = ROOT) -> str:
    """What the edge's /config answers as its second word once it serves these secrets. Raises SecretError if unmade."""
    found = re.search(r"default ([0-9a-f]{16});", Store(Path(root), Owners()).read("edge/revision.conf") or "")
    if not found:
        raise SecretError(f"{root}/edge/revision.conf is missing or was changed by hand; run install again")
    return found.group(1)
