"""The administrator's settings in the Open WebUI of this host. QUESTION: {"banner", "url", "connection"} sets these
as the admin page does, and opens the sign-up; {} answers what Open WebUI says of itself, and how it answers a stranger
who signs up.
"""

import json
import urllib.error
import urllib.request
from typing import Any

PAGE = "http://127.0.0.1:18300"
ADMIN = "admin@rehearsal.example"
STRANGER = {"name": "Eve", "email": "eve@rehearsal.example", "password": "not-a-secret-password"}


def ask(path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{PAGE}/{path}", data, headers), timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None


def main(question: dict[str, str]) -> dict[str, Any]:
    with open("/etc/tandem/secrets/webui_admin_password") as file:
        token = ask("api/v1/auths/signin", {"email": ADMIN, "password": file.read().strip()})[1]["token"]
    seen, engines = ask("api/v1/auths/admin/config", None, token)[1], ask("openai/config", None, token)[1]
    if question:
        banner = {"id": "1", "type": "info", "content": question["banner"], "dismissible": True, "timestamp": 1}
        theirs = {
            "api/v1/auths/admin/config": {**seen, "WEBUI_URL": question["url"], "ENABLE_SIGNUP": True},
            "api/v1/configs/banners": {"banners": [banner]},
            "openai/config/update": {
                "ENABLE_OPENAI_API": True,
                "OPENAI_API_BASE_URLS": [question["connection"], *engines["OPENAI_API_BASE_URLS"]],
                "OPENAI_API_KEYS": ["theirs", "one that is wrong"],
                # It answers nothing: Open WebUI would ask it for its models.
                "OPENAI_API_CONFIGS": {"0": {"enable": False}},
            },
        }
        for path, body in theirs.items():
            status, _ = ask(path, body, token)
            assert status == 200, f"{path} answers {status}"
        return {}
    return {
        "url": seen["WEBUI_URL"],
        "banners": [one["content"] for one in ask("api/v1/configs/banners", None, token)[1]],
        "urls": engines["OPENAI_API_BASE_URLS"],
        "keys": engines["OPENAI_API_KEYS"],
        "stranger": ask("api/v1/auths/signup", STRANGER)[0],
    }


print(json.dumps(main(json.loads(QUESTION))))  # type: ignore[name-defined]  # noqa: F821
