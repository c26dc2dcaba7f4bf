"""Runs a command on the host and says when the router confirmed the share that it is to lead to.

QUESTION: ``order`` (a command with its arguments), ``slot`` and its ``share`` in percent, ``limit_seconds``. Answers
``seconds`` from the order to the moment when the router served a split with that share (null: not in time),
``recorded`` to the moment when the decision was on record, what the command ended with, and the kernel's
``monotonic`` time of the order.
"""

import http.client
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

QUESTION: str
SPLIT = Path("/var/lib/tandem/split/engine.conf")
RECORD = Path("/var/lib/tandem/state.json")
STATUS_PORT = 18701
PAUSE_SECONDS = 0.005


def share(text: str, slot: str) -> float:
    """The percentage of ``slot`` in a split."""
    whole = re.search(r'map "" \$engine_slot \{ default (\S*); \}', text)
    if whole:
        return 100.0 * (whole[1] == slot)
    drawn = re.search(r'/slot/\$conversation" \$engine_slot \{(.*?)\}', text, re.DOTALL)
    shares = dict(re.findall(r"\s(\d+\.\d+)% (\S+);", drawn[1] if drawn else ""))
    named = {name: float(percent) for percent, name in shares.items()}
    return named.get(slot, 100 - sum(named.values()) if drawn and f"* {slot};" in drawn[1] else 0.0)


def served() -> str:
    connection = http.client.HTTPConnection("127.0.0.1", STATUS_PORT, timeout=2)
    try:
        connection.request("GET", "/split")
        return connection.getresponse().read().decode().strip()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def stamp() -> int:
    """Another one after every change of the record, which is replaced each time; 0 without one."""
    return RECORD.stat().st_mtime_ns if RECORD.exists() else 0


def confirmed(slot: str, wanted: float) -> bool:
    text = SPLIT.read_text()
    found = re.search(r"\$split_revision \{ default ([0-9a-f]+); \}", text)
    return abs(share(text, slot) - wanted) < 0.5 and found is not None and served() == found[1]


def main(order: list[str], slot: str, wanted: float, limit_seconds: float) -> dict[str, Any]:
    began = time.monotonic()
    seconds, recorded, before = None, None, stamp()
    process = subprocess.Popen(order, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while time.monotonic() - began < limit_seconds:
        if recorded is None and stamp() != before:
            recorded = time.monotonic() - began
        if confirmed(slot, wanted):
            seconds = time.monotonic() - began
            break
        if process.poll():
            break
        time.sleep(PAUSE_SECONDS)
    said, _ = process.communicate(timeout=60)
    return {
        "seconds": seconds,
        "recorded": recorded,
        "status": process.returncode,
        "said": said[-500:],
        "monotonic": began,
    }


if __name__ == "__main__":
    asked = json.loads(QUESTION)  # noqa: F821 - whoever sends this puts it before
    print(json.dumps(main(asked["order"], asked["slot"], asked["share"], asked["limit_seconds"])))
