"""A WebUI switch: what is decided from every record, and a whole switch with stand-ins for systemd and Open WebUI."""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tandem.domain import slots as places
from tandem.domain.rollout import Refused, Slot, State, Webui
from tandem.domain.webui_switch import (
    CLOSED,
    SPARE_BYTES,
    Order,
    Record,
    Step,
    Trial,
    consented,
    in_flight,
    left_behind,
    lost,
    next_step,
    other,
    parse,
    room,
    serving,
)
from tandem.hostside import state as states
from tandem.hostside import traffic, waiting, webui_return, webui_slots, webui_switch
from tandem.hostside.lock import LockHeld
from tandem.hostside.paths import Paths
from tandem.hostside.probe import request
from tandem.hostside.webui_return import NotSwitched
from tests.unit.serving import program
from tests.unit.webui_stand_in import PASSWORD, systemctl

OLD, NEW = "example/open-webui@sha256:" + "0" * 64, "example/open-webui@sha256:" + "1" * 64
ENGINE = Slot("a", "aaaaaaaa", (18100,), 100, asked=(18100,), model="the-model")

ORDER = Order("green", NEW, "the-model", 20.0, 0.3)
TRIAL = Trial("green", NEW, "d1", True, 1.0, 20.0, 2.0, 3.0)


# What is decided.


@pytest.mark.parametrize(
    ("webui", "record", "step"),
    [
        (Webui("blue", 18300), Record(), Step.TRY),
        (Webui("blue", 18300), Record(copy="green"), Step.TRY),
        (Webui("blue", 18300), Record(trial=replace(TRIAL, image=OLD)), Step.TRY),
        (Webui("blue", 18300), Record(trial=replace(TRIAL, unit="d0")), Step.TRY),
        (Webui("blue", 18300), Record(trial=replace(TRIAL, slot="blue")), Step.TRY),
        (Webui("blue", 18300), Record(trial=TRIAL), Step.CLOSE),
        (Webui("blue", CLOSED), Record(trial=TRIAL), Step.MOVE),
        (Webui("blue", CLOSED), Record(copy="green", trial=TRIAL), Step.MOVE),
        (Webui("blue", CLOSED), Record(trial=replace(TRIAL, image=OLD)), Step.REOPEN),
        (Webui("blue", CLOSED), Record(before="blue"), Step.REOPEN),
        (Webui("green", CLOSED), Record(before="blue"), Step.REOPEN),
        (Webui("green", 18400), Record(before="blue"), Step.SETTLE),
    ],
)
def test_what_comes_next_follows_from_what_is_recorded(webui: Webui, record: Record, step: Step) -> None:
    assert next_step(webui, record, ORDER, "d1") is step


def test_a_whole_switch_ends_from_every_record() -> None:
    """Each step, taken, leads to the end in a few steps, and nothing moves that was not tried."""
    webuis = [Webui("blue", 18300), Webui("blue", CLOSED), Webui("green", CLOSED)]
    trials = [None, TRIAL, replace(TRIAL, image=OLD), replace(TRIAL, unit="d0")]
    for webui in webuis:
        for trial in trials:
            now, record, taken = webui, Record(trial=trial), list[Step]()
            while (step := next_step(now, record, ORDER, "d1")) is not Step.SETTLE:
                taken.append(step)
                if step is Step.TRY:
                    record = Record(trial=TRIAL)
                elif step is Step.CLOSE:
                    now = replace(now, port=CLOSED)
                elif step is Step.MOVE:
                    assert record.trial == TRIAL
                    now, record = Webui("green", 18400), Record(before="blue")
                else:
                    now, record = Webui(now.slot, 18300), Record()
                assert len(taken) < 6, taken


def test_the_gap_is_what_the_trial_measured_and_what_the_router_needs() -> None:
    assert TRIAL.gap_seconds == pytest.approx(29.0)


def test_a_chat_is_left_behind_when_it_is_new_or_was_changed() -> None:
    assert left_behind({"a": 1, "b": 2, "c": 9}, {"a": 1, "b": 1, "d": 5}) == 2
    assert left_behind({"a": 1}, {"a": 1, "b": 1}) == 0


def test_chats_are_left_behind_only_with_consent_for_as_many() -> None:
    consented(0, None)
    consented(2, 2)
    for allowed in (None, 1):
        with pytest.raises(Refused, match=r"leave 2 chats behind.*--consent-chats 2"):
            consented(2, allowed)


def test_what_a_migration_did_not_keep_is_said() -> None:
    assert lost({"users": 2, "chats": 5}, {"users": 2, "chats": 5}) == []
    assert lost({"users": 2, "chats": 5}, {"users": 2, "chats": 4}) == [
        "5 chats were there before it started, and 4 after"
    ]


def test_a_copy_that_does_not_fit_is_refused_with_the_numbers() -> None:
    room("/there", 1 << 30, SPARE_BYTES + (1 << 30))
    with pytest.raises(Refused, match=r"/there has 1,535 MiB free.*needs 1,024 MiB, and 512 MiB have to stay free"):
        room("/there", 1 << 30, SPARE_BYTES + (1023 << 20))


def test_connections_are_counted_as_the_kernel_lists_them() -> None:
    def count(port: int) -> int:
        return in_flight(Path("/proc/net/tcp").read_text().splitlines(), port)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert count(port) == 0
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            accepted = [listener.accept()[0] for _ in range(2)]
            assert count(port) == 2
        for one in accepted:
            one.close()
        assert count(port) == 0


@pytest.mark.parametrize(
    "changes", [{"slot": "red"}, {"image": 5}, {"ready_seconds": "20"}, {"drain_seconds": True}, {"more": 1}]
)
def test_an_order_is_read_whole_or_not_at_all(changes: dict[str, object]) -> None:
    whole = vars(ORDER)
    assert parse(dict(whole)) == ORDER
    with pytest.raises(ValueError, match="the order"):
        parse({**whole, **changes})
    with pytest.raises(ValueError, match="the order"):
        parse([whole])


def test_nothing_serves_nothing_is_switched() -> None:
    with pytest.raises(Refused, match="nothing serves yet"):
        serving(State())


# A whole switch.


@dataclass
class House:
    """A host of its own: a real router, a stand-in for systemd, and Open WebUIs that are one small program."""

    paths: Paths
    page: int
    told: list[str]

    def make_unit(self, slot: str, image: str) -> None:
        self.paths.containers.mkdir(parents=True, exist_ok=True)
        text = f'[Container]\nImage={image}\nEnvironment="WEBUI_ADMIN_EMAIL=admin@ai.example"\n'
        (self.paths.containers / f"open-webui-{slot}.container").write_text(text)

    def switch(self, order: Order = ORDER) -> None:
        webui_switch.switch(order, self.paths, "the test", self.told.append)

    def mend(self) -> bool:
        return webui_return.mend(self.paths, "the test", self.told.append)

    def back(self, consent: int | None = None) -> None:
        webui_return.back(self.paths, "the test", self.told.append, consent)

    @property
    def webui(self) -> Webui:
        found = states.load(self.paths.state).webui
        assert found
        return found

    def data(self, slot: str) -> Path:
        return webui_slots.data(slot, self.paths)

    def add_chat(self, name: str, slot: str | None = None) -> None:
        with sqlite3.connect(self.data(slot or self.webui.slot) / "webui.db") as database:
            database.execute("INSERT INTO chat VALUES (?, 1)", (name,))

    def chats(self, slot: str) -> set[str]:
        with sqlite3.connect(self.data(slot) / "webui.db") as database:
            return {name for (name,) in database.execute("SELECT id FROM chat")}

    def served(self) -> str:
        """What people get: the image that answers, or the status."""
        status, body = request("GET", f"http://127.0.0.1:{self.page}/version", 5)
        return body.decode() if status == 200 else str(status)

    def running(self) -> set[str]:
        asked = subprocess.run(["systemctl", "running"], capture_output=True, text=True, check=True)
        return set(asked.stdout.split())


NGINX = """
daemon off; worker_processes 1; worker_shutdown_timeout 1s; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    map "" $webui_upstream {{ default 127.0.0.1:1; }}
    map "" $split_revision {{ default none; }}
    include {split}*;
    server {{ listen 127.0.0.1:{status}; location = /split {{ return 200 "$split_revision\\n"; }} }}
    server {{ listen 127.0.0.1:{page}; location / {{ proxy_pass http://$webui_upstream; error_page 502 =503 /away; }}
              location = /away {{ internal; return 503; }} }}
}}
"""


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Blue serves with the old image, two users and three chats; green's unit has the new image."""
    blue, green, page, engine, router = free_ports(5)
    monkeypatch.setitem(places.WEBUI_PORT, "blue", blue)
    monkeypatch.setitem(places.WEBUI_PORT, "green", green)
    monkeypatch.setattr(webui_return, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(traffic, "SETTLED_SECONDS", 0.05)
    monkeypatch.setattr(webui_slots, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(waiting.Pace.__init__, "__defaults__", (0.05, 5.0, 10.0))
    paths = Paths(tmp_path / "host", {"tandem-router-engine": engine, "tandem-router-webui": router})
    paths.split.mkdir(parents=True)
    paths.secrets.mkdir(parents=True)
    (paths.secrets / "webui_admin_password").write_text(f"{PASSWORD}\n")
    for slot, port in {"blue": blue, "green": green}.items():
        (tmp_path / f"{slot}.port").write_text(str(port))
    program(tmp_path / "bin", "systemctl", systemctl(tmp_path))
    program(tmp_path / "bin", "journalctl", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    here = House(paths, page, [])
    here.make_unit("blue", OLD)
    here.make_unit("green", NEW)
    data = here.data("blue")
    data.mkdir(parents=True)
    with sqlite3.connect(data / "webui.db") as database:
        database.execute("CREATE TABLE user (id TEXT)")
        database.execute("CREATE TABLE chat (id TEXT, updated_at INTEGER)")
        database.executemany("INSERT INTO user VALUES (?)", [("ada",), ("bob",)])
    (data / "uploads").mkdir()
    (data / "uploads/notes.txt").write_text("of a chat")
    state = State("blue", {"blue": ENGINE}, Webui("blue", blue))
    states.save(paths.state, state)
    for name in ("one", "two", "three"):
        here.add_chat(name)
    folder = tmp_path / "nginx"
    folder.mkdir()
    (folder / "conf").write_text(
        NGINX.format(folder=folder, split=paths.split / "webui.conf", status=router, page=page)
    )
    nginx = subprocess.Popen(["nginx", "-e", f"{folder}/log", "-p", str(folder), "-c", f"{folder}/conf"])
    try:
        _until(lambda: (folder / "pid").exists() and (folder / "pid").read_text().strip() != "")
        subprocess.run(["systemctl", "start", "--no-block", "open-webui-blue.service"], check=True)
        traffic.render(state, {"webui.conf": "missing"}, paths)
        _until(lambda: here.served() == OLD)
        webui_slots.park("green", paths)
        yield here
    finally:
        subprocess.run(["systemctl", "stop", "open-webui-blue.service", "open-webui-green.service"], check=True)
        nginx.terminate()
        nginx.wait()


def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def serves(house: House, slot: str, image: str) -> None:
    """This one, and only this one, runs and answers people, and every chat is there."""
    assert house.webui == Webui(slot, places.WEBUI_PORT[slot])
    assert house.served() == image
    assert house.running() == {f"open-webui-{slot}"}
    assert webui_slots.parked(other(slot), house.paths)
    assert not webui_slots.parked(slot, house.paths)
    assert house.chats(slot) >= {"one", "two", "three"}


def test_another_version_takes_over_with_everything_and_the_old_data_stays(house: House) -> None:
    house.switch()
    serves(house, "green", NEW)
    assert (house.data("green") / "uploads/notes.txt").read_text() == "of a chat"
    assert house.chats("blue") == {"one", "two", "three"}
    assert any("plan: the page will be away" in line for line in house.told)
    assert any("2 users and 3 chats are there as before; the page was away for" in line for line in house.told)
    record = webui_slots.load(house.paths)
    assert (record.copy, record.trial, record.before) == (None, None, "blue")
    assert record.gap_seconds is not None


def test_a_second_run_does_nothing(house: House) -> None:
    house.switch()
    history, count = house.paths.history.read_text(), len(house.told)
    house.switch()
    assert (house.paths.history.read_text(), len(house.told)) == (history, count)


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("dies", "did not pass"),
        ("no-model", "has no the-model"),
        ("loses-a-chat", "3 chats were there before it started, and 2 after"),
        ("no-websocket", "a websocket is not opened"),
        ("no-sign-in", "refuses the sign-in of admin@ai.example"),
    ],
)
def test_a_version_that_fails_on_the_copy_changes_nothing(house: House, flaw: str, said: str) -> None:
    bad = f"{NEW[:-8]}-{flaw}"
    house.make_unit("green", bad)
    before = (house.data("blue") / "webui.db").stat().st_ino
    with pytest.raises(NotSwitched, match=said) as caught:
        house.switch(replace(ORDER, image=bad, ready_seconds=3.0))
    assert "was not touched" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    serves(house, "blue", OLD)
    assert (house.data("blue") / "webui.db").stat().st_ino == before
    assert not webui_slots.has_data("green", house.paths)
    assert not house.paths.history.exists()


def test_a_version_that_fails_only_in_the_switch_gives_the_page_back(house: House) -> None:
    bad = f"{NEW[:-8]}-second-start"
    house.make_unit("green", bad)
    with pytest.raises(NotSwitched, match="The WebUI of blue serves"):
        house.switch(replace(ORDER, image=bad, ready_seconds=3.0))
    serves(house, "blue", OLD)
    assert any("the WebUI of blue serves again" in line for line in house.told)
    house.make_unit("green", NEW)
    house.switch()
    serves(house, "green", NEW)


def test_a_password_that_opens_neither_version_tells_nothing(house: House) -> None:
    (house.paths.secrets / "webui_admin_password").write_text("changed-in-the-page\n")
    house.switch()
    serves(house, "green", NEW)
    assert any("the sign-in tells nothing" in line for line in house.told)


def test_a_unit_with_another_image_is_refused(house: House) -> None:
    with pytest.raises(Refused, match=f"the unit of open-webui-green has the image {NEW}"):
        house.switch(replace(ORDER, image=OLD))
    serves(house, "blue", OLD)


def test_going_back_leaves_newer_chats_only_with_consent_and_keeps_them(house: House) -> None:
    with pytest.raises(Refused, match="took over from none"):
        house.back()
    house.switch()
    house.add_chat("late")
    with pytest.raises(Refused, match="leave 1 chats behind"):
        house.back()
    serves(house, "green", NEW)
    house.back(consent=1)
    serves(house, "blue", OLD)
    assert "late" not in house.chats("blue")
    kept = list((webui_slots.folder(house.paths) / "kept").iterdir())
    assert len(kept) == 1
    with sqlite3.connect(kept[0] / "webui.db") as database:
        assert ("late",) in database.execute("SELECT id FROM chat").fetchall()
    with pytest.raises(Refused, match="took over from none"):
        house.back()


def test_going_back_to_a_version_that_does_not_start_any_more_leaves_the_newer_one(house: House) -> None:
    house.switch()
    house.make_unit("blue", f"{OLD[:-8]}-no-websocket")
    with pytest.raises(NotSwitched, match="The WebUI of green serves as before"):
        house.back()
    serves(house, "green", NEW)


def test_the_next_version_overwrites_no_data_that_has_served(house: House) -> None:
    house.switch()
    house.make_unit("blue", f"{NEW}-third")
    house.switch(replace(ORDER, slot="blue", image=f"{NEW}-third"))
    serves(house, "blue", f"{NEW}-third")
    assert [path.name[:5] for path in (webui_slots.folder(house.paths) / "kept").iterdir()] == ["blue-"]


def test_nobody_else_changes_the_webui_meanwhile(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webui_switch, "MEND_SECONDS", 0.0)
    with webui_slots.only_one(house.paths, "somebody", "test"):
        with pytest.raises(LockHeld, match="somebody"):
            house.switch()
        with pytest.raises(LockHeld):
            house.mend()
    assert not house.mend()
    serves(house, "blue", OLD)


def test_a_closed_page_that_nobody_works_on_is_told_from_one_in_a_switch(house: House) -> None:
    assert not webui_return.forsaken(house.paths)
    webui_slots.send_to(Webui("blue", CLOSED), "close", "the test", house.paths)
    assert house.served() == "503"
    with webui_slots.only_one(house.paths, "somebody", "switch"):
        assert not webui_return.forsaken(house.paths)
    assert webui_return.forsaken(house.paths)
    assert house.mend()
    serves(house, "blue", OLD)


def test_a_rollout_of_the_engines_that_began_meanwhile_does_not_leave_the_page_closed() -> None:
    """Before the page is closed it is refused; afterwards the switch has to end."""

    class During(State):
        phase = "shifting"

    webui = Webui("blue", 18300)
    with pytest.raises(Refused, match="state shifting"):
        serving(During("blue", {"blue": ENGINE}, webui))
    closed = replace(webui, port=CLOSED)
    assert serving(During("blue", {"blue": ENGINE}, closed)) == closed


# Killed anywhere.

DEADLY = ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "subprocess.Popen", "os.mkdir")
"""What changes something, as Python tells its audit hooks just before."""


def run_and_kill(house: House, at: int, order: Order | None) -> bool:
    """A switch (or going back) in a process of its own that kills itself before its ``at``-th change; False: it ended
    before.
    """
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, _arguments: object) -> None:
            nonlocal seen
            if event in DEADLY:
                seen += 1
                if seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(count)
            house.switch(order) if order else house.back()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


MOST_CHANGES = 105
SAMPLE = sorted(random.Random(int(os.environ.get("TANDEM_SEED", "5"))).sample(range(1, 95), 4))  # noqa: S311
POINTS = range(1, MOST_CHANGES) if os.environ.get("TANDEM_ALL") else SAMPLE


@pytest.mark.parametrize("at", POINTS)
def test_killed_anywhere_the_data_that_counts_is_whole_and_the_same_order_ends_it(house: House, at: int) -> None:
    run_and_kill(house, at, ORDER)
    assert house.chats(house.webui.slot) >= {"one", "two", "three"}
    house.switch()
    serves(house, "green", NEW)
    assert house.chats("blue") == {"one", "two", "three"}


@pytest.mark.parametrize("at", POINTS)
def test_killed_anywhere_it_can_be_mended_without_the_order(house: House, at: int) -> None:
    run_and_kill(house, at, ORDER)
    house.mend()
    slot = house.webui.slot
    # One that was killed after the end of the switch has to be told nothing more.
    serves(house, slot, {"blue": OLD, "green": NEW}[slot])
    assert not house.mend()


@pytest.mark.parametrize("at", POINTS)
def test_going_back_killed_anywhere_can_be_mended(house: House, at: int) -> None:
    house.switch()
    run_and_kill(house, at, None)
    house.mend()
    slot = house.webui.slot
    serves(house, slot, {"blue": OLD, "green": NEW}[slot])
    assert house.chats("blue") == {"one", "two", "three"}
