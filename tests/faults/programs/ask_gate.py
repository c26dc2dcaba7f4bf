"""Asks the gate all the time while secrets are rotated. Runs on the host as root.

QUESTION: {"seconds", "rotate": [what to rotate, in turn]}. Answer: {"rotations", "answers": {status or error: count}}.
"""

import collections
import http.client
import json
import re
import subprocess
import threading
import time

SECRETS = "/etc/tandem/secrets"
GATE_PORT = 18610


def content(name):
    with open(f"{SECRETS}/{name}") as file:
        return file.read()


def ask(path, headers, seen, over):
    while not over.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", GATE_PORT, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            seen[str(answer.status)] += 1
        except (OSError, http.client.HTTPException) as error:
            seen[type(error).__name__] += 1
        finally:
            connection.close()


def main():
    asked = json.loads(QUESTION)  # noqa: F821 - put before this text by who runs it
    token = re.search(r'([0-9a-f]{64}) "current:team"', content("gate/people.conf"))[1]
    questions = [
        ("/page", {"Cookie": f"tandem_gate={token}"}),
        ("/key", {"Authorization": f"Bearer {content('keys/default').strip()}"}),
    ]
    over = threading.Event()
    seen = collections.Counter()
    askers = [threading.Thread(target=ask, args=(*question, seen, over)) for question in questions * 3]
    for asker in askers:
        asker.start()
    rotations, until = 0, time.monotonic() + asked["seconds"]
    while time.monotonic() < until:
        what = asked["rotate"][rotations % len(asked["rotate"])]
        subprocess.run(["tandemctl", "secrets", "rotate", what], check=True, stdout=subprocess.DEVNULL)
        rotations += 1
    over.set()
    for asker in askers:
        asker.join()
    print(json.dumps({"rotations": rotations, "answers": seen}))


main()
