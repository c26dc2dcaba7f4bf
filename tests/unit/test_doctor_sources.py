"""Where things come from: which sources are asked, how, and when a silent one refuses the host."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tandem.hostside import doctor_network, observe_doctor
from tests.unit.doctoring import GOOD, IMAGE, NEEDS, not_passed, reasons, rows

DOWN = {"state": "no answer", "why": "Connection refused", "seconds": 0.0, "proxy": ""}
NO_NAME = {"state": "no name", "why": "Name or service not known", "seconds": 0.0, "proxy": ""}


def network(**answers: Any) -> dict[str, Any]:
    known = GOOD["network"]["answers"]
    return {
        **GOOD["network"],
        "answers": {address: answers.get(address[:5].strip(":"), known[address]) for address in known},
    }


def test_an_image_that_no_source_can_bring_is_refused_and_one_that_is_there_is_not() -> None:
    down = {"network": network(https=DOWN)}
    (sentence,) = reasons(down)
    assert f"no source has the image {IMAGE}" in sentence
    assert not_passed({**down, "absent": {**GOOD["absent"], "images": []}}) == {"source of images": "warn"}


def test_a_second_source_saves_the_day() -> None:
    layout = replace(NEEDS, folders={**NEEDS.folders, "images": ("/mnt/layout",)})
    assert not_passed({"network": network(https=DOWN)}, layout) == {"source of images": "warn"}
    missing = {"network": network(https=DOWN), "missing_paths": ["/mnt/layout"]}
    assert not_passed(missing, layout) == {"source of images": "warn", "images": "fail"}


def test_a_folder_of_weights_that_is_not_there_is_refused_when_they_are_needed() -> None:
    gone = {"missing_paths": ["/root/models"]}
    assert not_passed(gone) == {"source of weights": "warn", "weights": "fail"}
    assert not_passed({**gone, "absent": {**GOOD["absent"], "weights": []}}) == {"source of weights": "warn"}


def test_without_dns_the_cause_is_named_beside_its_effects() -> None:
    down = {"network": network(http=NO_NAME, https=NO_NAME)}
    assert {name for name, level in not_passed(down).items() if level == "fail"} == {
        "DNS",
        "images",
        "Debian's packages",
    }
    assert "no name could be looked up (name servers: 192.0.2.53)" in rows(down)["DNS"].found


def test_with_a_bundle_no_source_is_judged_but_the_bundle() -> None:
    offline = replace(NEEDS, bundle="/mnt/bundle", sources={}, folders={})
    quiet: dict[str, Any] = {"network": {"servers": [], "asked": {}, "answers": {}, "names": []}}
    assert not_passed(quiet, offline) == {}
    assert not_passed({**quiet, "missing_paths": ["/mnt/bundle"]}, offline) == {"bundle": "fail"}


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """A server on loopback that says ``answer`` to every connection and closes it; None: it stays silent."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        kept: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                if answer is not None:
                    connection.recv(1000)
                    connection.sendall(answer)
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in kept:
            connection.close()


def test_sources_are_asked_for_an_answer_not_only_for_a_connection() -> None:
    with listening(b"HTTP/1.1 404 Not Found\r\n\r\n") as good, listening(None) as silent, listening(b"") as closing:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            refusing = f"http://127.0.0.1:{gone.getsockname()[1]}"
        nameless = "https://no-such-host.invalid"
        found = doctor_network.ask_all([good, silent, closing, refusing, nameless], {"http": "", "https": ""}, 1.0)
    assert {found[good]["state"], found[nameless]["state"]} == {"answers", "no name"}
    assert [found[one]["state"] for one in (silent, closing, refusing)] == ["no answer"] * 3
    assert (found[silent]["why"], found[refusing]["why"]) == ("silent", "Connection refused")
    assert found[silent]["seconds"] < 2


def test_a_proxy_is_asked_instead_and_its_password_is_not_told() -> None:
    with listening(b"") as proxy:
        login = proxy.replace("//", "//user:secret@")
        found = doctor_network.ask_all(["http://no-such-host.invalid/debian"], {"http": login, "https": ""}, 1.0)
    (answer,) = found.values()
    assert (answer["state"], answer["proxy"]) == ("answers", proxy)


def test_a_local_repository_is_there_or_not(tmp_path: Path) -> None:
    there, gone = f"file:{tmp_path}", f"file://{tmp_path}/gone"
    found = doctor_network.ask_all([there, gone], {}, 1.0)
    assert [found[one]["state"] for one in (there, gone)] == ["answers", "missing"]


def test_the_password_of_a_mirror_is_not_told() -> None:
    with listening(b"HTTP/1.1 401 Unauthorized\r\n\r\n") as mirror:
        login = mirror.replace("//", "//user:secret@")
        question = {"ask": "all", "sources": {"weights": [login]}, "limit_seconds": 1}
        found = observe_doctor.network(question, {"weights": ["a model"]})
    assert found["asked"] == {"weights": [mirror]}
    assert found["answers"][mirror]["state"] == "answers"
    assert "secret" not in str(found)
