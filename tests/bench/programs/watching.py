"""Says each change of the rollout and of the served split, with the kernel's monotonic time, until cut off."""

import http.client
import json
import time
from pathlib import Path

STATE = Path("/var/lib/tandem/state.json")
STATUS_PORT = 18701
PAUSE_SECONDS = 0.05


def served() -> str:
    connection = http.client.HTTPConnection("127.0.0.1", STATUS_PORT, timeout=2)
    try:
        connection.request("GET", "/split")
        return connection.getresponse().read().decode().strip()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def main() -> None:
    before: dict[str, object] = {}
    while True:
        state = json.loads(STATE.read_text())
        rollout = state["rollout"] or {}
        now = {"phase": state["state"], "weight": rollout.get("weight", 0), "held": state["held"], "split": served()}
        if now != before:
            print(json.dumps({"at": time.monotonic(), **now}), flush=True)
            before = now
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
