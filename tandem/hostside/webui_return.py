"""The way back of a WebUI switch: what served before serves again. Runs on the host, as root."""

import http.client
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from tandem.domain.rollout import Refused, Webui
from tandem.domain.slots import ROUTER_ENGINE_WEBUI_PORT, WEBUI_PORT, webui_unit
from tandem.domain.webui_switch import CLOSED, consented, in_flight, left_behind, opened, other, serving
from tandem.hostside import state as states
from tandem.hostside import traffic
from tandem.hostside import webui_slots as slots
from tandem.hostside.failed import Failed
from tandem.hostside.paths import Paths
from tandem.hostside.sqlite_copy import NotCopied
from tandem.hostside.traffic import NotTaken
from tandem.hostside.units import known_secrets, mask
from tandem.hostside.waiting import NotReady
from tandem.hostside.webui_chats import NotRead, content
from tandem.hostside.webui_smoke import Login, check

SOCKETS: Final = Path("/proc/net/tcp")
QUIET_SECONDS: Final = 1.0
"""Open WebUI writes an answer down within this time after the engine has ended it."""
POLL_SECONDS: Final = 0.1
REOPEN_SECONDS: Final = 300.0
MEND_SECONDS: Final = 120.0
"""The guard may be bringing back what served before: that is waited for."""
Tell = Callable[[str], None]


class NotSwitched(Failed):
    """The WebUI is as it was. The message says why, what serves, and what to do next."""


class NotFit(Exception):
    """The new version does not do what it must."""


FAILURES: Final = (
    NotFit, NotReady, NotTaken, NotCopied, NotRead, slots.NotStopped, subprocess.SubprocessError, OSError,
    http.client.HTTPException,
)  # fmt: skip


def forsaken(paths: Paths) -> bool:
    """Whether the page is closed and nobody is at work on it: then ``mend`` is due. Raises Refused for a bad record."""
    webui = states.load(paths.state).webui
    return webui is not None and webui.port == CLOSED and slots.busy(paths) is None


def mend(paths: Paths, who: str, tell: Tell) -> bool:
    """Ends what a switch that was cut short left: what served before serves again. Returns whether that was due.

    Raises LockHeld while a switch goes on.
    """
    with slots.only_one(paths, who, "end a WebUI switch that was cut short"):
        state = states.load(paths.state)
        webui = state.webui
        if webui is None:
            return False
        if webui.port == CLOSED:
            reopen(webui.slot, paths, who, tell)
        elif not slots.at_rest(other(webui.slot), paths) or "webui.conf" in traffic.differing(state, paths):
            settle(webui.slot, paths, who)
        else:
            return False
        return True


def reopen(slot: str, paths: Paths, who: str, tell: Tell) -> None:
    """What served before the page was closed serves again. Raises NotSwitched when that one does not answer."""
    began = time.monotonic()
    why = ""
    slots.stop(other(slot), paths)
    record = slots.load(paths)
    if record.copy == other(slot):
        slots.clear(other(slot), paths, tell)
    slots.save(replace(record, copy=None, trial=None), paths)
    try:
        slots.start(slot, REOPEN_SECONDS, paths, tell)
    except (NotReady, subprocess.SubprocessError) as error:
        why = str(error)
    # Also when it is silent: then the router says so, and the page is there as soon as it answers.
    slots.send_to(opened(slot), f"open the WebUI of {slot} again", who, paths)
    if why:
        raise NotSwitched(f"{webui_unit(slot)} is asked again, but does not answer: {why}")
    tell(f"the WebUI of {slot} serves again, after {time.monotonic() - began:.1f} s; its data is as it was")


def settle(slot: str, paths: Paths, who: str) -> None:
    """The one that serves may start with a boot, the other one may not; the router asks the right one."""
    if slots.unit_text(other(slot), paths):
        slots.stop(other(slot), paths)
    slots.unpark(slot, paths)
    slots.send_to(opened(slot), f"send people to the WebUI of {slot}", who, paths)


def back(paths: Paths, who: str, tell: Tell, consent: int | None) -> None:
    """The version before serves again, with its own, older data; the newer data is kept. Raises Refused, NotSwitched.

    ``consent``: how many chats may be left behind.
    """
    with slots.only_one(paths, who, "go back to the WebUI before", MEND_SECONDS):
        webui = serving(states.load(paths.state))
        new, old = webui.slot, other(webui.slot)
        if webui.port == CLOSED:
            raise Refused("a switch of the WebUI was cut short. Nothing was changed. Run: tandemctl webui mend")
        if slots.load(paths).before != old:
            raise Refused(f"the WebUI of {new} took over from none. Nothing was changed: there is no way back to take.")
        if not slots.unit_text(old, paths) or not slots.has_data(old, paths):
            raise Refused(f"the unit or the data of {webui_unit(old)} is gone: it was cleaned up. Nothing was changed.")
        consented(_left(new, old, paths), consent)
        try:
            slots.start(old, REOPEN_SECONDS, paths, tell)
            if problems := check(WEBUI_PORT[old], login(old, paths), None, must_sign_in=False).problems:
                raise NotFit("; ".join(problems))
            quiet(REOPEN_SECONDS, tell)
            closed = time.monotonic()
            slots.send_to(Webui(new, CLOSED), "close the page", who, paths)
            slots.stop(new, paths)
            count = _left(new, old, paths)
            consented(count, consent)
            slots.send_to(opened(old), f"send people back to the WebUI of {old}", who, paths)
        except BaseException as error:
            if (now := states.load(paths.state).webui) and now.slot == new:
                slots.stop(old, paths)
                if now.port == CLOSED:
                    reopen(new, paths, who, tell)
            if isinstance(error, FAILURES):
                raise NotSwitched(f"{plain(error, paths)}\nThe WebUI of {new} serves as before.") from error
            raise
        away = time.monotonic() - closed
        settle(old, paths, who)
        slots.clear(new, paths, tell)
        tell(f"the WebUI of {old} serves; {count} chats were left behind; the page was away for {away:.1f} s")


def login(slot: str, paths: Paths) -> Login:
    password = (paths.secrets / "webui_admin_password").read_text(encoding="utf-8").strip()
    return Login(slots.said(slot, "WEBUI_ADMIN_EMAIL", paths), password)


def _left(new: str, old: str, paths: Paths) -> int:
    return left_behind(content(slots.data(new, paths)).chats, content(slots.data(old, paths)).chats)


def quiet(seconds: float, tell: Tell) -> int:
    """Until no chat has been in progress for a moment, at most so long; returns how many still are."""
    deadline = time.monotonic() + seconds
    quiet_since: float | None = None
    told = False
    while True:
        now = time.monotonic()
        count = in_flight(SOCKETS.read_text(encoding="ascii").splitlines(), ROUTER_ENGINE_WEBUI_PORT)
        quiet_since = None if count else quiet_since or now
        if quiet_since and now - quiet_since >= QUIET_SECONDS:
            return 0
        if now > deadline:
            return count
        if count and not told:
            told = True
            tell(f"waiting until chats in progress have finished ({count} now), at most {seconds:.0f} s")
        time.sleep(POLL_SECONDS)


def plain(error: BaseException, paths: Paths) -> str:
    """A sentence about it, without secrets."""
    if isinstance(error, subprocess.CalledProcessError):
        text = f"{' '.join(map(str, error.cmd))} failed: {str(error.stderr or '').strip()}"
    else:
        text = str(error) or type(error).__name__
    return mask(text, known_secrets(paths.secrets))
