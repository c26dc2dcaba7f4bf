"""The files that are derived from the secrets of a host: what Nginx, the engines and the WebUI read."""

import hashlib
import hmac
import json
import re
import subprocess
from collections.abc import Callable, Iterable

from tandem.domain.secrets import LOADED
from tandem.hostside.secret_files import Store

BCRYPT_COST = "6"  # Above 8 a flood of wrong passwords stalls the gate's workers.
COOKIE = "tandem_gate"
POST_QUANTUM = (3, 5)  # the OpenSSL that brought X25519MLKEM768


def derive(store: Store) -> None:
    """Write what is derived and does not match any more; the certificate is not among it."""
    _htpasswd(store)
    for name, text in TEXTS.items():
        store.write(name, text(store))
    for unit in LOADED:
        _revision(store, unit)


def keys(store: Store) -> str:
    """A map ignores case; the gate therefore also compares what it found, exactly."""
    lines = [f'    "Bearer {key}" "{client}|Bearer {key}";\n' for client, key in _secrets(store, "keys", store.clients)]
    return f'map $http_authorization $key_match {{\n    default "";\n{"".join(lines)}}}\n'


def people(store: Store) -> str:
    """Which cookie is whose, and which cookie a verified password earns."""
    gates = {"current": store.secret("gate_secret"), "previous": store.secret("gate_secret_previous")}
    if gates["previous"] == gates["current"]:
        del gates["previous"]  # Nginx refuses a map that has a value twice.
    logins = _secrets(store, "passwords", store.users)
    whose = [
        f'    {_token(user, password, gate)} "{age}:{user}";\n'
        for user, password in logins
        for age, gate in gates.items()
    ]
    # "user:" keeps a user called "default" from being a word of the map.
    earned = [
        f'    "user:{user}" "{COOKIE}={_token(user, password, gates["current"])}; '
        'Path=/; Secure; HttpOnly; SameSite=Lax";\n'
        for user, password in logins
    ]
    return (
        f'map $cookie_{COOKIE} $gate_token {{\n    default "";\n{"".join(whose)}}}\n'
        f'map "user:$remote_user" $gate_cookie_of {{\n    default "";\n{"".join(earned)}}}\n'
    )


def upstream(store: Store) -> str:
    return f'proxy_set_header Authorization "Bearer {store.secret("upstream_key")}";\n'


def groups(_: Store) -> str:
    """Key agreements, the one that resists quantum computers first where the installed OpenSSL has it."""
    said = subprocess.run(["openssl", "version"], capture_output=True, text=True, timeout=30, check=True).stdout
    version = re.match(r"OpenSSL (\d+)\.(\d+)", said)
    new = version is not None and (int(version[1]), int(version[2])) >= POST_QUANTUM
    return f"ssl_ecdh_curve {'X25519MLKEM768:' if new else ''}X25519:prime256v1:secp384r1;\n"


def engine(store: Store) -> str:
    return f"VLLM_API_KEY={store.secret('upstream_key')}\n"


def webui(store: Store) -> str:
    names = {
        "OPENAI_API_KEY": "upstream_key",
        "WEBUI_ADMIN_PASSWORD": "webui_admin_password",
        "WEBUI_SECRET_KEY": "webui_secret_key",
    }
    return "".join(f"{name}={store.secret(source)}\n" for name, source in names.items())


TEXTS: dict[str, Callable[[Store], str]] = {
    "gate/keys.conf": keys,
    "gate/people.conf": people,
    "edge/upstream.conf": upstream,
    "edge/groups.conf": groups,
    "engine/env": engine,
    "webui/env": webui,
}


def _secrets(store: Store, folder: str, names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, store.secret(f"{folder}/{name}")) for name in sorted(names)]


def _token(user: str, password: str, gate: str) -> str:
    """64 hex digits, so that a map's blindness to case gives nothing away."""
    return hmac.new(gate.encode(), f"{user}\0{password}".encode(), hashlib.sha256).hexdigest()


def _htpasswd(store: Store) -> None:
    name = "gate/htpasswd"
    path = store.root / name
    found = dict(line.split(":", 1) for line in (store.read(name) or "").splitlines() if ":" in line)
    lines = []
    for user, password in _secrets(store, "passwords", store.users):
        kept = found.get(user, "")
        if not kept.startswith("$2y$") or _run_htpasswd(["-v", "-i", str(path), user], password).returncode:
            made = _run_htpasswd(["-n", "-i", "-B", "-C", BCRYPT_COST, user], password)
            made.check_returncode()
            kept = made.stdout.strip().split(":", 1)[1]
        lines.append(f"{user}:{kept}\n")
    store.write(name, "".join(lines))


def _run_htpasswd(arguments: list[str], password: str) -> "subprocess.CompletedProcess[str]":
    command = ["htpasswd", *arguments]
    return subprocess.run(command, input=f"{password}\n", capture_output=True, text=True, timeout=30, check=False)


def _revision(store: Store, unit: str) -> None:
    """Keyed: anyone on the host may ask for this fingerprint, and it must say nothing of its source."""
    folder, names = LOADED[unit]
    loaded = json.dumps([[name, store.read(f"{folder}/{name}")] for name in names])
    revision = hmac.new(store.secret("upstream_key").encode(), loaded.encode(), hashlib.sha256).hexdigest()[:16]
    store.write(f"{folder}/revision.conf", f'map "" $secrets_revision {{ default {revision}; }}\n')
