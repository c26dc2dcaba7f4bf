"""Another version of Open WebUI takes over the data. Runs on the host, as root.

Cut short anywhere, the same order ends it, and ``webui_return.mend`` brings back what served. The data of the slot that
serves is read, never written.
"""

import contextlib
import time
from dataclasses import dataclass, replace

from tandem.domain.rollout import Refused, Webui
from tandem.domain.slots import WEBUI_PORT, webui_unit
from tandem.domain.webui_switch import CLOSED, Order, Record, Step, Trial, lost, next_step, opened, other, serving
from tandem.hostside import state as states
from tandem.hostside import webui_slots as slots
from tandem.hostside.paths import Paths
from tandem.hostside.probe import Target, probe_one
from tandem.hostside.webui_chats import content
from tandem.hostside.webui_return import (
    FAILURES,
    MEND_SECONDS,
    NotFit,
    NotSwitched,
    Tell,
    login,
    plain,
    quiet,
    reopen,
    settle,
)
from tandem.hostside.webui_smoke import Checked, check, sign_in


@dataclass
class Switch:
    """One run of ``switch``. ``closed_at``: when the page was closed, by this run (monotonic seconds)."""

    order: Order
    paths: Paths
    who: str
    tell: Tell
    closed_at: float | None = None

    @property
    def old(self) -> str:
        return other(self.order.slot)


def prepare(slot: str, paths: Paths, who: str) -> None:
    """The unit of a slot that does not serve may be written now: nothing starts it. Raises Refused."""
    with slots.only_one(paths, who, f"prepare Open WebUI's slot {slot}", MEND_SECONDS):
        if serving(states.load(paths.state)).slot == slot:
            raise Refused(f"the WebUI serves from {slot}. Nothing was changed. Prepare {other(slot)}.")
        slots.stop(slot, paths)


def switch(order: Order, paths: Paths, who: str, tell: Tell) -> None:
    """The version in ``order.slot`` serves in the end. Raises Refused, or NotSwitched with the old one serving."""
    run = Switch(order, paths, who, tell)
    with slots.only_one(paths, who, f"switch Open WebUI to {order.slot}", MEND_SECONDS):
        while True:
            webui = serving(states.load(paths.state))
            step = next_step(webui, slots.load(paths), order, slots.unit_digest(order.slot, paths))
            if step is Step.TRY:
                _try(run)
            elif step is Step.CLOSE:
                _close(run)
            elif step is Step.MOVE:
                _move(run)
            elif step is Step.REOPEN:
                reopen(webui.slot, paths, who, tell)
            else:
                settle(webui.slot, paths, who)
                return


def _try(run: Switch) -> None:
    """The new version on a copy of the data, beside the old one. Raises NotSwitched with nothing changed."""
    order, paths = run.order, run.paths
    _check_unit(order, paths)
    slots.check_room(run.old, order.slot, paths)
    run.tell(f"trying {order.image} on a copy of the data; the page stays as it is")
    try:
        slots.save(replace(slots.load(paths), trial=None), paths)
        slots.stop(order.slot, paths)
        copied, copy_seconds = slots.copy(run.old, order.slot, paths, run.tell)
        start_seconds, checked, check_seconds = _start(run, must_sign_in=False)
        if not checked.signs_in:
            known = login(order.slot, paths)
            _, why = sign_in(WEBUI_PORT[order.slot], known)
            if sign_in(WEBUI_PORT[run.old], known)[0]:
                raise NotFit(why)
            run.tell(f"the sign-in tells nothing: {why}, and so does the one that serves")
        stopping = time.monotonic()
        slots.stop(order.slot, paths)
        stop_seconds = time.monotonic() - stopping
    except BaseException as error:
        slots.stop(order.slot, paths)
        if slots.load(paths).copy == order.slot:
            slots.clear(order.slot, paths, run.tell)
        if not isinstance(error, FAILURES):
            raise
        raise NotSwitched(
            f"{plain(error, paths)}\n{order.image} did not pass on a copy of the data. The WebUI that serves was not "
            "touched. Mend the cause or take another image, then run upgrade again."
        ) from error
    unit = slots.unit_digest(order.slot, paths)
    figures = (round(seconds, 1) for seconds in (copy_seconds, start_seconds, check_seconds, stop_seconds))
    trial = Trial(order.slot, order.image, unit, checked.signs_in, *figures)
    slots.save(replace(slots.load(paths), trial=trial), paths)
    run.tell(
        f"it passed: copied {copied.files} files ({copied.size / (1 << 20):.1f} MiB) in {copy_seconds:.1f} s, answered "
        f"after {start_seconds:.1f} s, checked in {check_seconds:.1f} s"
    )
    run.tell(
        f"plan: the page will be away (503, it tries again by itself) for about {trial.gap_seconds:.0f} s, and for as "
        f"long as chats in progress need to finish, at most {order.drain_seconds:.0f} s"
    )


def _close(run: Switch) -> None:
    """Chats in progress finish; a moment without any is waited for, because those who come then find the page away."""
    slots.stop(run.order.slot, run.paths)
    quiet(run.order.drain_seconds, run.tell)
    run.closed_at = time.monotonic()
    slots.send_to(Webui(run.old, CLOSED), "close the page", run.who, run.paths)


def _move(run: Switch) -> None:
    """Raises NotSwitched with the old version serving again."""
    order, paths, old = run.order, run.paths, run.old
    try:
        slots.stop(order.slot, paths)
        if cut := quiet(order.drain_seconds, run.tell):
            run.tell(f"{cut} chats in progress did not finish in {order.drain_seconds:.0f} s and were cut")
        slots.stop(old, paths)
        before = content(slots.data(old, paths)).counts
        slots.copy(old, order.slot, paths, run.tell)
        trial = slots.load(paths).trial
        _start(run, must_sign_in=trial is not None and trial.signs_in)
        after = content(slots.data(order.slot, paths)).counts
        if problems := lost(before, after):
            raise NotFit("; ".join(problems))
        # First: what may serve in a moment is no copy any more.
        slots.save(Record(before=old), paths)
        slots.send_to(opened(order.slot), f"send people to the WebUI of {order.slot}", run.who, paths)
    except BaseException as error:
        serves = order.slot
        if (now := states.load(paths.state).webui) and now.slot == old:
            serves = old
            try:
                reopen(old, paths, run.who, run.tell)
            except NotSwitched as silent:
                raise NotSwitched(f"{plain(error, paths)}\n{silent}") from error
        if not isinstance(error, FAILURES):
            raise
        raise NotSwitched(
            f"{plain(error, paths)}\nThe WebUI of {serves} serves. Mend the cause, then run upgrade again."
        ) from error
    with contextlib.suppress(OSError):  # the next install sees to it
        slots.carry_prompts(old, order.slot, paths)
    counted = f"{after['users']} users and {after['chats']} chats are there as before"
    if run.closed_at is None:
        run.tell(f"{order.image} serves from {order.slot}; {counted}; the page had been closed by an earlier run")
    else:
        away = round(time.monotonic() - run.closed_at, 1)
        slots.save(replace(slots.load(paths), gap_seconds=away), paths)
        run.tell(f"{order.image} serves from {order.slot}; {counted}; the page was away for {away:.1f} s")


def _start(run: Switch, must_sign_in: bool) -> tuple[float, Checked, float]:
    """Start and check the new version on the data in its slot: seconds, what was seen, seconds. Raises on problems."""
    order, paths = run.order, run.paths
    there = slots.data(order.slot, paths)
    before = content(there).counts
    started = slots.start(order.slot, order.ready_seconds, paths, run.tell)
    began = time.monotonic()
    checked = check(WEBUI_PORT[order.slot], login(order.slot, paths), order.model, must_sign_in)
    problems = [*checked.problems, *lost(before, content(there).counts)]
    if problems:
        raise NotFit("; ".join(problems))
    return started, checked, time.monotonic() - began


def _check_unit(order: Order, paths: Paths) -> None:
    image = slots.said(order.slot, "Image", paths)
    if image != order.image:
        raise Refused(
            f"the unit of {webui_unit(order.slot)} has the image {image or '(there is no unit)'}, and {order.image} is "
            "wanted. Nothing was changed. Run upgrade again: it writes the unit first."
        )
    answer = probe_one(Target("", f"http://127.0.0.1:{WEBUI_PORT[other(order.slot)]}"), "", 30.0)
    if not answer.ready:
        raise Refused(
            f"{webui_unit(other(order.slot))}, which serves, does not answer ({answer.why}). Nothing was changed. "
            "Run install: it starts it again. Then run upgrade again."
        )
