"""tandemctl's commands about secrets. Only ``credentials`` shows any."""

import argparse
import json
import sys
from typing import Any

from tandem.domain.secrets import LOADED
from tandem.hostside import gate, lock, rotation, secrets, webui_password
from tandem.hostside.arguments import BadInput
from tandem.hostside.paths import Paths

ORDER_KEYS = {"users": list, "clients": list, "names": list, "certificate": dict, "given": dict}
SEE = "see: tandemctl credentials"


def ensure(options: argparse.Namespace, paths: Paths, who: str) -> None:
    order = _order(sys.stdin.read())
    told = False
    if options.dry:
        changed = secrets.due(paths.secrets, **order)
        behind = not changed and gate.behind(paths)
    else:
        with lock.lock(paths.lock, who, "make or replace secrets", options.wait_seconds):
            changed, told = _ensure(order, paths)
            behind = False
    if options.json:
        _print_json({"changed": changed, "gate_behind": behind, "revisions": revisions(paths)})
        return
    done = "would make or change" if options.dry else "made or changed"
    print(f"{done}: {', '.join(changed)}" if changed else "nothing to do: every secret is there")
    if told or behind:
        print(f"{gate.UNIT} {'would be' if behind else 'was'} reloaded")


def _ensure(order: dict[str, Any], paths: Paths) -> tuple[list[str], bool]:
    """What changed, and whether the gate had to be told. Once Open WebUI serves, its administrator's password is
    changed there, and last: it may refuse, and who was removed is out before.
    """
    given = dict(order["given"])
    password = given.get(webui_password.NAME, "").rstrip("\r\n")
    serving = bool(password) and webui_password.applies(paths)
    if serving:
        secrets.check_form(webui_password.NAME, password)
        del given[webui_password.NAME]
    changed = secrets.ensure(paths.secrets, **{**order, "given": given})
    told = gate.tell(paths)
    store = secrets.opened(paths.secrets)
    if serving and store.secret(webui_password.NAME) != password:
        webui_password.change(store, paths, password)
    return changed + store.changed, told


def rotate(options: argparse.Namespace, paths: Paths, who: str) -> None:
    with lock.lock(paths.lock, who, f"rotate {options.what}", options.wait_seconds):
        due = not options.older_than_hours or rotation.old(paths, options.what, options.older_than_hours)
        changed = rotation.rotate(paths, options.what) if due else []
    if options.json:
        _print_json({"changed": changed})
    elif not due:
        print(f"nothing to do: {options.what} is younger than {options.older_than_hours:g} hours")
    else:
        print(f"rotated {options.what}; changed: {', '.join(changed) or 'nothing more'}")
        if "/" in options.what or options.what == webui_password.NAME:
            print(f"{SEE}\nif group_data gives this secret, the next install puts that one back: change it there too")


def list_all(options: argparse.Namespace, paths: Paths) -> None:
    ages = rotation.ages(paths)
    if options.json:
        _print_json(ages)
    for name, days in ages.items() if not options.json else ():
        print(f"{name}: {days:g} days old")


def credentials(options: argparse.Namespace, paths: Paths) -> None:
    logins = secrets.credentials(paths.secrets)
    if options.json:
        _print_json(logins)
        return
    print("Passwords of the browser's prompt:")
    for user, password in logins["passwords"].items():
        print(f"  {user}: {password}")
    print("API keys:")
    for client, key in logins["keys"].items():
        print(f"  {client}: {key}")
    print(f"Password of Open WebUI's first administrator: {logins['webui_admin_password']}")
    print(f"Certificate to trust: {logins['ca_file']}")


def revisions(paths: Paths) -> dict[str, str | None]:
    """Unit -> the revision that it serves once it has loaded the secrets of this host; None before they are made."""
    return {unit: _revision(paths, unit) for unit in LOADED}


def _revision(paths: Paths, unit: str) -> str | None:
    try:
        return secrets.revision(paths.secrets, unit)
    except secrets.SecretError:
        return None


def _order(text: str) -> dict[str, Any]:
    """What ``secrets ensure`` reads. Raises BadInput, which never repeats what was read."""
    try:
        order = json.loads(text)
    except ValueError:
        raise BadInput("standard input is not JSON. Nothing was changed.") from None
    right = isinstance(order, dict) and order.keys() == ORDER_KEYS.keys()
    if not right or not all(isinstance(order[key], kind) for key, kind in ORDER_KEYS.items()):
        forms = ", ".join(f"{key} ({kind.__name__})" for key, kind in ORDER_KEYS.items())
        raise BadInput(f"standard input must be one JSON object with exactly {forms}. Nothing was changed.")
    texts = [*order["users"], *order["clients"], *order["names"], *order["given"].values()]
    if not all(isinstance(value, str) for value in texts) or not isinstance(order["certificate"].get("kind"), str):
        raise BadInput("users, clients, names and given hold strings, certificate a kind. Nothing was changed.")
    return {**order}


def _print_json(value: object) -> None:
    print(json.dumps(value))
