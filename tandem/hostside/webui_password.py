"""The password of Open WebUI's first administrator, changed in Open WebUI itself and then in what the host keeps."""

import json
import re
from typing import Final

from tandem.domain.refused import Refused
from tandem.domain.slots import webui_unit
from tandem.hostside import secrets, state
from tandem.hostside.paths import Paths
from tandem.hostside.probe import request
from tandem.hostside.secret_files import Store
from tandem.hostside.secret_texts import derive

NAME: Final = "webui_admin_password"
NEXT: Final = f"{NAME}.next"
ANSWER_SECONDS: Final = 20.0


def change(store: Store, paths: Paths, new: str = "") -> None:
    """Make ``new`` (by default a generated one) the administrator's password.

    The new password is kept before Open WebUI hears of it: a repeated call finds out which of the two is right.
    Raises Refused, with the password unchanged, when nothing serves or none of them opens; OSError when Open WebUI
    can't be asked.
    """
    page, email = _serving(paths)
    kept, old = store.secret(NEXT), store.secret(NAME)
    for password in dict.fromkeys(filter(None, (kept, new))):
        if _sign_in(page, email, password):
            _settle(store, password)
            if new in ("", password):
                return
            old = password
    new = new or kept or secrets.generate(NAME)
    token = _sign_in(page, email, old)
    if not token:
        store.drop(NEXT)
        raise Refused(
            f"{email} can't sign in to Open WebUI with the password in {store.root / NAME}: it was changed there, or "
            "asks for a second factor. It was left as it is. Change it in Open WebUI itself."
        )
    store.keep(NEXT, new)
    status, _ = _post(f"{page}/update/password", {"password": old, "new_password": new}, token)
    if not _sign_in(page, email, new):
        store.drop(NEXT)
        raise Refused(f"Open WebUI did not take the new password (it answered {status}). It was left as it is.")
    _settle(store, new)


def applies(paths: Paths) -> bool:
    """Whether an Open WebUI serves that knows the password already; before, it takes it from its environment."""
    return state.load(paths.state).webui is not None


def _settle(store: Store, password: str) -> None:
    store.write(NAME, f"{password}\n")
    derive(store)
    store.drop(NEXT)


def _serving(paths: Paths) -> tuple[str, str]:
    """Where sessions are made, and the administrator's address."""
    serving = state.load(paths.state).webui
    if serving is None:
        raise Refused("nothing serves yet. Nothing was changed. Run install.")
    unit = paths.containers / f"{webui_unit(serving.slot)}.container"
    found = re.search(r'^Environment="?WEBUI_ADMIN_EMAIL=(.*?)"?$', unit.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise Refused(f"{unit} names no WEBUI_ADMIN_EMAIL. Nothing was changed. Run install again.")
    return f"http://127.0.0.1:{serving.port}/api/v1/auths", found[1]


def _sign_in(page: str, email: str, password: str) -> str:
    """A session's token; "" if Open WebUI refuses the password. Raises OSError when it answers otherwise."""
    status, body = _post(f"{page}/signin", {"email": email, "password": password})
    if status == 200:
        return str(json.loads(body).get("token") or "")  # none where a second factor is asked for
    if status in (400, 401, 403):
        return ""
    raise OSError(0, f"Open WebUI answered {status} to a sign-in; nothing was changed", page)


def _post(url: str, body: dict[str, str], token: str = "") -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    return request("POST", url, ANSWER_SECONDS, headers, json.dumps(body).encode())
