"""curl over HTTP/1.1 and HTTP/2: answers, streams, the headers of all answers, the cookie, uploads, the redirect."""

import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tandem.config.edge import EdgeConfig
from tandem.render.nginx import INFERENCE_BODY_MIB
from tests.e2e.site import Site
from tests.e2e.webui import Browser

QUESTION, ANSWER = "What is two plus two?", "Two plus two is four."
VERSIONS = {"HTTP/1.1": "--http1.1", "HTTP/2": "--http2"}
UPLOAD_MIB = EdgeConfig(server_name="any.example").maximum_body_mib
HEADERS = {
    "strict-transport-security": r"max-age=\d{8,}",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "content-security-policy": "frame-ancestors 'self'; base-uri 'self'",
    "x-request-id": "[0-9a-f]{32}",
    "server": "nginx",
}
"""What every answer of the HTTPS port has, once; the version of Nginx is nobody's business."""


@dataclass(frozen=True)
class Answer:
    status: int
    version: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class Curl:
    """curl with the host's authority. Credentials come on its standard input, never in its arguments."""

    def __init__(self, site: Site, folder: Path, option: str) -> None:
        self.site, self.folder, self.option = site, folder, option

    def command(self, path: str, *options: str) -> list[str]:
        url = path if "://" in path else f"{self.site.access['url']}{path}"
        trust = ["--cacert", self.site.access["ca_file"], "--config", "-"]
        return ["curl", "--silent", "--show-error", "--max-time", "120", self.option, *trust, *options, url]

    def __call__(self, path: str, *options: str, headers: dict[str, str] | None = None, user: str = "") -> Answer:
        head, body = self.folder / "head", self.folder / "body"
        wanted = ["--dump-header", str(head), "--output", str(body), "--write-out", "%{http_code} %{http_version}"]
        body.unlink(missing_ok=True)
        done = subprocess.run(
            self.command(path, *wanted, *options),
            input=configuration(headers or {}, user),
            capture_output=True,
            text=True,
            check=True,
            timeout=150,
        )
        status, version = done.stdout.split()
        # The last block of headers: an interim answer (100) has one of its own.
        lines = head.read_text().strip().replace("\r", "").split("\n\n")[-1].splitlines()[1:]
        found = [(name.lower(), value.strip()) for name, value in (line.split(":", 1) for line in lines)]
        return Answer(int(status), version, found, body.read_bytes() if body.exists() else b"")


def configuration(headers: dict[str, str], user: str = "") -> str:
    lines = [f'header = "{name}: {value}"' for name, value in headers.items()]
    return "\n".join([*lines, *([f'user = "{user}"'] if user else [])]) + "\n"


def chat(model: str, **more: Any) -> list[str]:
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, **more}
    return ["--header", "Content-Type: application/json", "--data", json.dumps(body)]


@pytest.fixture(params=VERSIONS)
def curl(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Curl:
    return Curl(site, tmp_path, VERSIONS[request.param])


@pytest.fixture(autouse=True)
def paced() -> None:
    """One key may ask five times a second, and ten times at once."""
    time.sleep(0.6)


@pytest.fixture(scope="module")
def administrator(site: Site) -> Browser:
    browser = Browser(site)
    assert browser.sign_in().status == 200
    return browser


def test_a_chat_is_answered_in_the_version_that_was_asked_for(curl: Curl, site: Site) -> None:
    answer = curl("/v1/chat/completions", *chat(site.access["model"]), headers=site.bearer)
    assert (answer.status, answer.version) == (200, "2" if curl.option == "--http2" else "1.1")
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == ANSWER


def test_a_stream_arrives_as_it_is_made(curl: Curl, site: Site) -> None:
    """Its first piece is there while the engine still works on an answer that ends when its reader leaves."""
    body = {"model": site.access["model"], "prompt": QUESTION, "stream": True, "ignore_eos": True, "max_tokens": 6000}
    options = ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
    command = curl.command("/v1/completions", "--no-buffer", *options)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(configuration(site.bearer))
        process.stdin.close()
        try:
            pieces = [process.stdout.readline() for _ in range(20)]
            assert process.poll() is None
        finally:
            process.kill()
    events = [json.loads(line[6:]) for line in pieces if line.strip()]
    assert len(events) == 10
    assert {event["object"] for event in events} == {"text_completion"}


def test_the_password_opens_the_page_and_the_cookie_keeps_it_open(curl: Curl, site: Site) -> None:
    jar = str(curl.folder / "jar")
    user = f"{site.access['basic_user']}:{site.access['basic_password']}"
    assert curl("/").status == 401
    first = curl("/", "--basic", "--cookie-jar", jar, user=user)
    assert first.status == 200
    assert len(first.values("set-cookie")) == 1
    kept = [line.split("\t") for line in Path(jar).read_text().splitlines() if "tandem_gate" in line]
    domain, _, path, secure, expires, name, _ = kept[0]
    assert (domain, path, secure, expires, name) == (f"#HttpOnly_{site.address}", "/", "TRUE", "0", "tandem_gate")
    later = curl("/api/config", "--cookie", jar)
    assert (later.status, later.values("set-cookie")) == (200, [])


def kinds(curl: Curl, site: Site) -> dict[str, Answer]:
    """One answer of each kind, by what it is."""
    plain: dict[str, str] = {}
    large = curl.folder / "large"
    large.write_bytes(b"x" * (INFERENCE_BODY_MIB * 2**20 + 1))
    found = {
        "200 page": curl("/", headers=site.cookie),
        "200 page's data": curl("/api/config", headers=site.cookie),
        "200 models": curl("/v1/models", headers=site.bearer),
        "200 chat": curl("/v1/chat/completions", *chat(site.access["model"]), headers=site.bearer),
        "401 page": curl("/", headers=plain),
        "401 API": curl("/v1/models", headers=plain),
        "404 API": curl("/v1/embeddings", headers=site.bearer),
        "404 engine's own": curl("/metrics", headers=site.cookie),
        "404 model": curl("/v1/chat/completions", *chat("another-model"), headers=site.bearer),
        "405 method": curl("/v1/chat/completions", headers=site.bearer),
        "413 API": curl("/v1/chat/completions", "--data-binary", f"@{large}", headers=site.bearer),
    }
    for _ in range(30):
        found["429 API"] = curl("/v1/models", headers=site.key("hurried"))
        if found["429 API"].status == 429:
            break
    return found


def test_every_kind_of_answer_has_every_security_header_once(curl: Curl, site: Site) -> None:
    answers = kinds(curl, site)
    assert {kind: answer.status for kind, answer in answers.items()} == {kind: int(kind[:3]) for kind in answers}
    wrong = [
        (kind, name, answer.values(name))
        for kind, answer in answers.items()
        for name, pattern in HEADERS.items()
        if len(answer.values(name)) != 1 or not re.fullmatch(pattern, answer.values(name)[0])
    ]
    assert wrong == []
    ids = [answer.values("x-request-id")[0] for answer in answers.values()]
    assert len(set(ids)) == len(ids)
    assert answers["429 API"].values("retry-after")
    for kind in ("401 API", "404 API", "404 model", "405 method", "413 API", "429 API"):
        error = json.loads(answers[kind].body)["error"]
        assert error.keys() >= {"message", "type", "param", "code"}, kind
        assert error["code"] == answers[kind].status


def test_a_request_id_from_outside_is_not_taken_over(curl: Curl, site: Site) -> None:
    claimed = "0" * 32
    answer = curl("/v1/models", headers={**site.bearer, "X-Request-Id": claimed})
    assert answer.status == 200
    assert answer.values("x-request-id") != [claimed]


def test_a_file_as_large_as_configured_is_taken_and_a_larger_one_refused(curl: Curl, administrator: Browser) -> None:
    file = curl.folder / "upload.bin"
    file.write_bytes(b"\0" * ((UPLOAD_MIB - 1) * 2**20))
    path = "/api/v1/files/?process=false"
    taken = curl(path, "--form", f"file=@{file}", headers=administrator.headers)
    assert taken.status == 200
    try:
        assert json.loads(taken.body)["meta"]["size"] == (UPLOAD_MIB - 1) * 2**20
    finally:
        one = f"/api/v1/files/{json.loads(taken.body)['id']}"
        # It says 400 where it has no store of embeddings to clear as well; the file is gone all the same.
        curl(one, "--request", "DELETE", headers=administrator.headers)
        assert curl(one, headers=administrator.headers).status == 404
    file.write_bytes(b"\0" * (UPLOAD_MIB * 2**20))
    assert curl(path, "--form", f"file=@{file}", headers=administrator.headers).status == 413


def test_a_body_as_large_as_an_engine_takes_reaches_it(curl: Curl, site: Site) -> None:
    """It answers about the model that it does not have."""
    file = curl.folder / "body.json"
    content = "x" * ((INFERENCE_BODY_MIB - 1) * 2**20)
    file.write_text(json.dumps({"model": "another-model", "messages": [{"role": "user", "content": content}]}))
    options = ["--header", "Content-Type: application/json", "--data-binary", f"@{file}"]
    answer = curl("/v1/chat/completions", *options, headers=site.bearer)
    assert answer.status == 404
    assert "another-model" in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_only_points_to_https(curl: Curl, site: Site, method: str) -> None:
    """308, so that a program sends its body again, and now in secret."""
    answer = curl(f"http://{site.address}/some/page?x=1", "--request", method)
    assert (answer.status, answer.values("location")) == (308, [f"https://{site.address}/some/page?x=1"])
    assert answer.values("strict-transport-security") == []
