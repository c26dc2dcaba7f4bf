"""Pairs of answers of two engines of the same release, taken by the product's own prober while users ask both.

Runs where the engines are: python3 pairs.py ORDER.json OUTPUT.jsonl, with Tandem's host-side program on the path.
ORDER: ``ports`` of the two engines, ``model``, ``key_file``, ``cases`` (the compiled document), ``questions`` of users
and how many ``users`` there are, ``weights`` and the ``pairs`` for each of them, ``seconds`` at most. Each line of
OUTPUT is a sample with the ``weight`` that it was taken at; the first says what was asked for.
"""

import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tandem.domain.advance import Comparison, Rollout
from tandem.domain.cases import from_document
from tandem.domain.layout import Swap
from tandem.domain.rollout import Slot, State, Webui
from tandem.hostside import state
from tandem.hostside.paths import Paths
from tandem.hostside.prober import Prober
from tandem.hostside.samples import Reader

OLD, NEW = "blue", "green"


def rollout(step: int, weight: int, pair_seconds: float) -> Rollout:
    phase: Any = "shifting" if weight else "comparing"
    swap = Swap(OLD, NEW, (0, 1), "take-turns")
    return Rollout(
        swap, phase=phase, weight=weight, step=step, id="aa", comparison=Comparison(pair_seconds=pair_seconds)
    )


def record(paths: Paths, model: str, now: Rollout | None) -> None:
    """What the prober reads; without a rollout it ends."""
    old = Slot("a", "d1", (18100, 18101), 100, (18100,), model)
    new = Slot("b", "d2", (18200, 18201), 0, (), model)
    slots = {OLD: old, NEW: new} if now else {OLD: old}
    state.save(paths.state, State(OLD, slots, Webui(OLD, 18300), now))


@contextmanager
def users(order: Mapping[str, Any], key: str, weight: int) -> Iterator[None]:
    """Ask both engines for real, the second one for ``weight`` percent, each user one question after the other."""
    over = threading.Event()

    def one(number: int) -> None:
        chance = random.Random(f"{weight} {number}")  # noqa: S311 - who asks what
        while not over.wait(chance.uniform(0, 2 * order["think_seconds"])):
            port = order["ports"][chance.random() * 100 < weight]
            _ask(port, key, order["model"], chance.choice(order["questions"]))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(order["users"])]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _ask(port: int, key: str, model: str, question: str) -> None:
    """What a user gets is of no interest here."""
    body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 256, "stream": True}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        time.sleep(1)
    finally:
        connection.close()


def taken(order: Mapping[str, Any], root: Path) -> Iterator[dict[str, Any]]:
    """Raises TimeoutError when there are not enough pairs in time; those that there are were yielded."""
    key = Path(order["key_file"]).read_text().strip()
    paths, (old, new) = Paths(root), order["ports"]
    paths.prober.mkdir(parents=True)
    cases = from_document(json.dumps(order["cases"]))
    end = time.monotonic() + order["seconds"]
    steps = dict(enumerate(order["weights"], 1))
    record(paths, order["model"], rollout(1, steps[1], order["pair_seconds"]))
    prober = Prober(paths, cases, key, lambda slot, _card: old if slot == OLD else new)
    thread = threading.Thread(target=prober.run)
    thread.start()
    try:
        reader = Reader(paths.prober / "aa.jsonl")
        for step, weight in steps.items():
            record(paths, order["model"], rollout(step, weight, order["pair_seconds"]))
            with users(order, key, weight):
                found: list[dict[str, Any]] = []
                while len(found) < order["pairs"]:
                    if time.monotonic() > end or not thread.is_alive():
                        raise TimeoutError(f"{len(found)} of {order['pairs']} pairs at {weight} % in time")
                    time.sleep(0.2)
                    more = reader.step(step)
                    for pair in more[len(found) :]:
                        yield {**pair, "weight": weight}
                    found = more
    finally:
        record(paths, order["model"], None)
        thread.join()


def main(order_file: str, output: str) -> None:
    order = json.loads(Path(order_file).read_text())
    with tempfile.TemporaryDirectory(prefix="tandem-aa-") as root, Path(output).open("w") as file:
        told = ("pairs", "pair_seconds", "users", "think_seconds", "weights", "model")
        print(json.dumps({"order": {name: order[name] for name in told}}), file=file, flush=True)
        for line in taken(order, Path(root)):
            print(json.dumps(line), file=file, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
