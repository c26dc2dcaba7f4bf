"""Ctrl-C, a closed terminal and SIGTERM end a run at once, with an exit status other than 0."""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass
from types import FrameType

import gevent  # type: ignore[import-untyped]
import pyinfra
from pyinfra.api.state import State
from pyinfra.context import ctx_state


@dataclass
class Interruption:
    """The signal that ended this process's run, None while there was none."""

    signal_number: int | None = None
    installed: bool = False


interruption = Interruption()


def current_state() -> State | None:
    """The state of the run in this process, None until pyinfra has read the inventory."""
    state: State | None = ctx_state.get()
    return state if state is not None and state.initialised else None


def exit_nonzero_on_signals() -> None:
    """End a run by SIGINT, SIGTERM or SIGHUP with exit status 128 + signal; signals that are ignored stay ignored.

    pyinfra's own handler ends with status 0 on Ctrl-C, and only once the running operation has finished.
    """
    if interruption.installed or not pyinfra.is_cli:
        return
    interruption.installed = True
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_run)


def _end_run(signal_number: int, _frame: FrameType | None) -> None:
    interruption.signal_number = signal_number
    ending = SystemExit(128 + signal_number)
    # The workers end first, because disconnecting waits for their places in the pool.
    state = current_state()
    if state is not None:
        state.pool.kill(block=False)
    # A half-made connection is torn down under paramiko, which would end with a traceback about it.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    hub = gevent.get_hub()
    if gevent.getcurrent() is hub.parent:
        raise ending
    # Raised in a worker greenlet (one of paramiko's, say) the exit would be lost: it is thrown into the main one.
    hub.loop.run_callback_threadsafe(hub.parent.throw, ending)
