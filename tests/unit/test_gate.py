"""The gate beside the edge, both real Nginx processes: passwords, the cookie that stands for one, keys, limits."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem.hostside import rotation
from tandem.hostside.paths import Paths
from tandem.render.gate import gate_config, render_gate, served_gate
from tandem.render.nginx import config_digest
from tandem.render.tree import File
from tests.unit.front_door import OWNERS, Door, basic, front_door
from tests.unit.nginx_process import ask, eventually, example_config

BEARER = {"Authorization": "Bearer session-token"}


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with front_door(tmp_path) as door:
        yield door


def test_each_user_has_a_password_and_a_cookie_of_their_own(door: Door) -> None:
    assert door.cookie("alice") != door.cookie("bob")
    swapped = basic("alice", door.logins["passwords"]["bob"])
    assert door.ask("/", swapped).status == 401
    assert door.ask("/", basic("ALICE", door.logins["passwords"]["alice"])).status == 401


def test_a_user_who_is_removed_is_out_and_the_others_stay_in(door: Door) -> None:
    alice, bob = door.cookie("alice"), door.cookie("bob")
    door.ensure(users=["bob"])
    door.tell_gate()
    assert door.ask("/", {"Cookie": alice, **BEARER}).status == 401
    assert door.ask("/", door.basic("alice")).status == 401
    assert door.ask("/", {"Cookie": bob, **BEARER}).status == 200


def test_another_password_ends_the_cookies_of_its_user_only(door: Door) -> None:
    alice, bob = door.cookie("alice"), door.cookie("bob")
    door.ensure(given={"passwords/alice": "correct-horse-battery"})
    door.tell_gate()
    assert door.ask("/", {"Cookie": alice, **BEARER}).status == 401
    assert door.ask("/", {"Cookie": bob, **BEARER}).status == 200


def test_a_cookie_outlives_one_rotation_is_exchanged_with_the_password_and_ends_with_the_next(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No systemd here that could reload it.
    monkeypatch.setattr(rotation.gate, "tell", lambda paths: door.tell_gate())
    old = door.cookie()
    rotation.rotate(Paths(door.folder), "gate", owners=OWNERS)
    in_grace = door.ask("/api/config", {"Cookie": old, **BEARER})
    assert (in_grace.status, in_grace.headers["Set-Cookie"]) == (200, None)
    page = {"Cookie": old, "Accept": "text/html,application/xhtml+xml"}
    exchanged = door.ask("/", {**page, **door.basic()})
    new = str(exchanged.headers["Set-Cookie"]).partition(";")[0]
    assert exchanged.status == 200
    assert new.startswith("tandem_gate=")
    assert new != old
    assert door.ask("/", {**page, **basic("alice", "bogus")}).status == 401
    rotation.rotate(Paths(door.folder), "gate", owners=OWNERS)
    assert door.ask("/api/config", {"Cookie": old, **BEARER}).status == 401
    assert door.ask("/api/config", {"Cookie": new, **BEARER}).status == 200


def test_a_new_key_is_served_without_the_edge_being_told(door: Door) -> None:
    edge = ask(door.places.status_port, "/config").text
    assert door.ask("/v1/models", door.key).status == 200
    door.ensure(given={"keys/default": "sk-another-key-of-mine"})
    door.tell_gate()
    assert door.ask("/v1/models", door.key).status == 401
    assert door.ask("/v1/models", {"Authorization": "Bearer sk-another-key-of-mine"}).status == 200
    assert ask(door.places.status_port, "/config").text == edge


def test_each_client_has_a_limit_of_its_own_and_bad_keys_use_up_nobodys(door: Door) -> None:
    ci = {"Authorization": f"Bearer {door.logins['keys']['ci']}"}
    for _ in range(15):
        door.ask("/v1/models", {"Authorization": "Bearer bad"})
    answers = [door.ask("/v1/models", ci) for _ in range(8)]
    statuses = [answer.status for answer in answers]
    assert statuses[:3] == [200] * 3
    assert 429 in statuses
    limited = next(answer for answer in answers if answer.status == 429)
    assert limited.headers["Retry-After"] == "1"
    assert json.loads(limited.text)["error"]["type"] == "rate_limit_error"
    assert len(door.engine.seen) == statuses.count(200)
    assert [door.ask("/v1/models", door.key).status for _ in range(10)] == [200] * 10


def test_the_engines_learn_the_client_from_the_edge_and_from_nobody_else(door: Door) -> None:
    door.ask("/v1/models", {**door.key, "X-Tandem-Client": "ci"})
    assert door.engine.seen[-1][2]["x-tandem-client"] == "default"
    door.ask("/", {**door.basic(), "X-Tandem-Client": "ci"})
    assert "x-tandem-client" not in door.webui.seen[-1][2]


def test_guessing_passwords_is_slowed_and_whoever_is_in_notices_nothing(tmp_path: Path) -> None:
    with front_door(tmp_path, password_limit={"requests_per_second": 1, "burst": 5}) as door:
        cookie = door.cookie()
        guesses = [door.ask("/", basic("alice", f"guess-number-{number}")) for number in range(20)]
        statuses = [answer.status for answer in guesses]
        assert set(statuses) == {401, 429}
        assert statuses.count(429) >= 12
        slowed = next(answer for answer in guesses if answer.status == 429)
        assert slowed.headers["Retry-After"] == "10"
        assert "wait ten seconds" in slowed.text
        assert [door.ask("/", {"Cookie": cookie, **BEARER}).status for _ in range(30)] == [200] * 30
        assert door.ask("/v1/models", door.key).status == 200


def test_nothing_but_the_two_questions_is_answered_and_no_connection_is_kept(door: Door) -> None:
    port = door.gate_places.port
    for path in ("/", "/none", "/@key", "/keys.conf", "/key/", "/key/../keys.conf"):
        assert ask(port, path).status == 404
    assert ask(port, "/key").status == 401
    assert ask(port, "/page").headers["Connection"] == "close"


def test_the_active_configuration_says_its_digest_and_the_revision_of_its_secrets(door: Door) -> None:
    digest, seen = ask(door.gate_places.status_port, "/config").text.split()
    assert digest == config_digest(gate_config(door.config, door.gate_places))
    assert seen in (door.secrets / "gate/revision.conf").read_text()


def test_a_limit_that_changes_counts_in_a_zone_of_its_own() -> None:
    def zones(**client: int) -> set[str]:
        return set(re.findall(r"limit_req_zone .*zone=(\w+):", gate_config(example_config(clients={"ci": client}))))

    assert zones() == zones()
    assert len(zones() ^ zones(requests_per_second=7)) == 2


def test_the_tree_holds_no_secret_and_only_paths_of_its_own() -> None:
    tree = render_gate(example_config())
    (group,) = tree.groups
    assert group.base == "/etc/tandem/gate"
    assert sorted(tree.entries) == [
        "/etc/systemd/system/multi-user.target.wants/tandem-gate.service",
        "/etc/systemd/system/tandem-gate.service",
    ]
    text = group.files["nginx.conf"].content
    included = {f"/run/tandem-gate-secrets/{name}.conf" for name in ("keys", "people", "revision")}
    assert set(re.findall(r"include (\S+);", text)) == included
    assert served_gate(example_config())["tandem-gate"] in text


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    entry = render_gate(example_config()).entries["/etc/systemd/system/tandem-gate.service"]
    assert isinstance(entry, File)
    path = tmp_path / "tandem-gate.service"
    path.write_text(entry.content)
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_next_password_is_checked_again_after_a_while(tmp_path: Path) -> None:
    with front_door(tmp_path, password_limit={"requests_per_second": 2, "burst": 1}) as door:
        statuses = [door.ask("/", basic("alice", "a-wrong-password")).status for _ in range(8)]
        assert statuses[-1] == 429
        time.sleep(1)
        assert door.ask("/", door.basic()).status == 200


def ask_gate(door: Door, question: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(door.gate_places.port, question, named).status


def test_all_addresses_of_one_ipv6_network_share_one_limit_of_passwords(tmp_path: Path) -> None:
    with front_door(tmp_path, password_limit={"requests_per_second": 1, "burst": 3}) as door:
        wrong = basic("alice", "a-wrong-password")["Authorization"]
        addresses = [f"2001:db8:1:2::{number:x}" for number in range(1, 6)] + [
            f"2001:db8:1:2:a:b:c:{number:x}" for number in range(1, 6)
        ]
        seen = [ask_gate(door, "/page", Authorization=wrong, X_Real_IP=address) for address in addresses]
        assert seen.count(401) <= 10
        assert seen[-1] == seen[4] == 403
        elsewhere = door.basic()["Authorization"]
        assert ask_gate(door, "/page", Authorization=elsewhere, X_Real_IP="2001:db8:1:3::1") == 204


def test_the_parts_of_a_page_pass_with_an_older_cookie_however_many_bring_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with front_door(tmp_path, password_limit={"requests_per_second": 1, "burst": 3}) as door:
        monkeypatch.setattr(rotation.gate, "tell", lambda paths: door.tell_gate())
        old = door.cookie()
        rotation.rotate(Paths(door.folder), "gate", owners=OWNERS)
        part = {"Cookie": old, "Accept": "image/png,*/*", **door.basic()}
        answers = [door.ask(f"/static/{number}.png", part) for number in range(30)]
        assert {(answer.status, answer.headers["Set-Cookie"]) for answer in answers} == {(200, None)}


def test_the_log_says_whose_limit_was_met(door: Door) -> None:
    ci = {"Authorization": f"Bearer {door.logins['keys']['ci']}"}
    while door.ask("/v1/models", ci).status != 429 and len(door.engine.seen) < 20:
        pass
    log = door.folder / "access.json"
    eventually(lambda: '"status":429' in log.read_text(), True)
    limited = [line for line in map(json.loads, log.read_text().splitlines()) if line["status"] == 429]
    assert {line["client"] for line in limited} == {"ci"}
