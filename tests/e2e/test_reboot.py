"""After a power cycle everything comes back by itself, in order."""

import http.client
import threading
import time

import pytest

from tandem.rehearsal import host as rehearsal
from tandem.rehearsal.inventory import STATE
from tandem.rehearsal.rootfs import Host
from tests.e2e.install import install
from tests.e2e.site import Site
from tests.e2e.units import OURS, on_host, units

ANSWER_SECONDS = 420
QUESTION, ANSWER = "Say hello.", "Hello! How can I help you today?"


class Stream(threading.Thread):
    """A long answer that somebody is reading while the host is told to reboot."""

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self.site, self.text, self.began = site, b"", threading.Event()

    def run(self) -> None:
        message = {"role": "user", "content": "Count to sixty in words."}
        more = {"stream": True, "temperature": 0, "max_tokens": 400, "ignore_eos": True}
        body = {"model": self.site.access["model"], "messages": [message], **more}
        with self.site.open("POST", "/v1/chat/completions", self.site.bearer, body) as response:
            while piece := response.read1():
                self.text += piece
                self.began.set()


@pytest.fixture(scope="module")
def stream(site: Site) -> Stream:
    reader = Stream(site)
    reader.start()
    assert reader.began.wait(60)
    return reader


@pytest.fixture(scope="module")
def seconds(machine: Host, site: Site, stream: Stream) -> float:
    """Reboots the host; from SSH answering to the first right answer of the model."""
    assert b"[DONE]" not in stream.text
    boot = on_host(machine, "cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestampMonotonic")
    rehearsal.reboot(STATE, machine.name)
    assert (
        on_host(machine, "cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestampMonotonic") != boot
    )
    began, said = time.monotonic(), ""
    while time.monotonic() - began < ANSWER_SECONDS:
        try:
            said = "".join(site.chat(QUESTION))
            assert said == ANSWER
            taken = time.monotonic() - began
            print(f"answered {taken:.1f} s after the reboot")
            return taken
        except (OSError, http.client.HTTPException) as error:
            said = f"{type(error).__name__}: {error}"
        time.sleep(1)
    pytest.fail(f"no answer {ANSWER_SECONDS} s after the reboot; the last try: {said}")


def test_an_answer_that_was_under_way_is_whole(seconds: float, stream: Stream) -> None:
    stream.join(5)
    assert stream.text.rstrip().endswith(b"data: [DONE]"), stream.text[-300:]
    assert b'"finish_reason":"length"' in stream.text


def test_an_answer_comes_without_anybody_doing_anything(seconds: float) -> None:
    assert seconds < ANSWER_SECONDS


def test_every_unit_is_back_without_a_restart_by_systemd(seconds: float, machine: Host) -> None:
    found = units(machine, *OURS)
    assert len(found) >= 6
    assert {name: one["ActiveState"] for name, one in found.items() if one["ActiveState"] != "active"} == {}
    assert {name: one["NRestarts"] for name, one in found.items() if one.get("NRestarts", "0") != "0"} == {}


def test_units_came_up_in_order(seconds: float, machine: Host) -> None:
    """The disk before the engines; the routers before those who send to them, the edge and the WebUI."""
    began = {name: int(one["ActiveEnterTimestampMonotonic"]) for name, one in units(machine, *OURS).items()}
    engines = [when for name, when in began.items() if name.startswith("vllm-")]
    pages = [when for name, when in began.items() if name.startswith("open-webui-")]
    assert engines
    assert began["srv-weights.mount"] < min(engines)
    routers = began["tandem-router-engine.service"], began["tandem-router-webui.service"]
    assert max(routers) < began["tandem-edge.service"]
    assert began["tandem-router-engine.service"] < min(pages)


def test_install_finds_nothing_to_do(seconds: float, machine: Host) -> None:
    run = install(machine.name)
    assert run.status == 0, run.output
    assert run.end["changed"] == []
