"""Asking programs and files that may be missing, slow or stuck, many at the same time."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

MISSING, TOO_SLOW = 127, 124
"""Exit statuses of ``run``, as a shell and timeout(1) have them."""

LIMIT_SECONDS = 15.0


def run(*command: str, limit_seconds: float = LIMIT_SECONDS) -> tuple[int, str]:
    """Exit status, and output with errors. A program that is stuck in the kernel is left behind, not waited for."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError:
        return MISSING, ""
    try:
        text, _ = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return TOO_SLOW, f"{command[0]} did not answer within {limit_seconds:.0f} s"
    return process.returncode, text


def text(path: str) -> str:
    """What a file says, "" for one that can't be read."""
    with contextlib.suppress(OSError), open(path, errors="replace") as file:
        return file.read().strip()
    return ""


def at_once(jobs: Mapping[str, Callable[[], Any]], limit_seconds: float) -> dict[str, Any]:
    """The answers by name, all asked at the same time. Raises what a job raised.

    A job that takes longer than ``limit_seconds`` answers None; its thread ends with the program.
    """
    answers: dict[str, Any] = dict.fromkeys(jobs)
    problems: list[Exception] = []

    def work(name: str, job: Callable[[], Any]) -> None:
        try:
            answers[name] = job()
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in jobs.items()]
    deadline = time.monotonic() + limit_seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if problems:
        raise problems[0]
    return dict(answers)
