"""What share of the conversations the new release really gets, and whether one ever flips back: asked of a real Nginx.

It runs the router's own configuration with the split as tandemctl writes it; a port beside it says what was drawn.
"""

import random
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tandem.hostside.split import engine_split, split_revision
from tandem.render.nginx import with_config_digest
from tandem.render.router import ENGINE, router_config
from tests.bench.report import Report
from tests.unit.nginx_process import ask, eventually, example_config, free_ports, nginx

CONVERSATIONS: Final = 10_000
WEIGHTS: Final = (10, 30, 50, 70, 90, 100)
SALTS: Final = ("", "1", "20261121T2215Z", "0b8e7a", "upgrade-17.b")
ENGINES: Final = {"blue": [18100, 18101], "green": [18200, 18201]}
GOAL_POINTS: Final = 2.0
BATCH: Final = 200
"""Requests on their way at once."""
SETTLED_SECONDS: Final = 0.3
DRAWN: Final = """
    server {{
        listen 127.0.0.1:{port};
        access_log off;
        keepalive_timeout 60s;
        keepalive_requests 1000000;
        location / {{ return 200 "$engine_slot $engine_upstream\\n"; }}
    }}
}}
"""


@dataclass(frozen=True)
class Drawing:
    """A router that runs. ``split``: the file that it includes."""

    split: Path
    drawn_port: int
    status_port: int
    reload: Callable[[], None]

    def use(self, weights: Mapping[str, int], salt: str) -> None:
        """Raises TimeoutError when Nginx does not serve this split within seconds."""
        text = engine_split(ENGINES, weights, salt=salt)
        self.split.write_text(text)
        self.reload()
        eventually(lambda: ask(self.status_port, "/split").text.strip(), split_revision(text), SETTLED_SECONDS)

    def draw(self, conversations: Sequence[str]) -> list[tuple[str, str]]:
        """Slot and engine of each conversation; "" stands for a request without one. May raise EOFError."""
        found: list[tuple[str, str]] = []
        with socket.create_connection(("127.0.0.1", self.drawn_port), timeout=10) as connection:
            answers = connection.makefile("rb")
            for start in range(0, len(conversations), BATCH):
                batch = conversations[start : start + BATCH]
                heads = (f"X-OpenWebUI-Chat-Id: {name}\r\n" if name else "" for name in batch)
                connection.sendall("".join(f"GET / HTTP/1.1\r\nHost: x\r\n{head}\r\n" for head in heads).encode())
                for _ in batch:
                    size = 0
                    while (line := answers.readline()) != b"\r\n":
                        if not line:
                            raise EOFError("Nginx closed the connection")
                        if line.lower().startswith(b"content-length:"):
                            size = int(line.split(b":")[1])
                    slot, engine = answers.read(size).decode().split()
                    found.append((slot, engine))
        return found


@contextmanager
def drawing() -> Iterator[Drawing]:
    """A router of its own; gone afterwards."""
    api, webui, status, drawn = free_ports(4)
    with tempfile.TemporaryDirectory(prefix="tandem-share-") as folder:
        split = Path(folder, "split.conf")
        split.write_text(engine_split(ENGINES, {"blue": 100}))
        places = replace(ENGINE, split=str(split), access_log=f"{folder}/log", ports=(api, webui), status_port=status)
        text = with_config_digest(router_config(example_config(), places)).rstrip().removesuffix("}")
        with nginx(text + DRAWN.format(port=drawn), Path(folder, "nginx")) as reload:
            yield Drawing(split, drawn, status, reload)


@dataclass(frozen=True)
class Growth:
    """One rollout's weights with one salt. ``off_points``: by weight, realised less nominal share."""

    off_points: Mapping[int, float]
    flips: int
    moved: int
    """Conversations that changed their engine and stayed in their slot."""


def grow(router: Drawing, old: str, new: str, salt: str, conversations: Sequence[str]) -> Growth:
    off, flips, moved = {}, 0, 0
    before: list[tuple[str, str]] = []
    for weight in (0, *WEIGHTS):
        router.use({old: 100 - weight, new: weight}, salt)
        drawn = router.draw(conversations)
        flips += sum(one[0] == new and now[0] != new for one, now in zip(before, drawn, strict=False))
        moved += sum(one[0] == now[0] and one != now for one, now in zip(before, drawn, strict=False))
        off[weight] = 100 * sum(slot == new for slot, _ in drawn) / len(drawn) - weight
        before = drawn
    return Growth(off, flips, moved)


def realised(report: Report) -> None:
    """Figures and failures of the split."""
    chance = random.Random(CONVERSATIONS)  # noqa: S311 - reproducible names
    conversations = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(CONVERSATIONS)]
    report.section(f"Share of the new release over {CONVERSATIONS} conversations, {len(SALTS)} salts, both directions")
    with drawing() as router:
        grown = {
            (old, new, salt): grow(router, old, new, salt, conversations)
            for old, new in (("blue", "green"), ("green", "blue"))
            for salt in SALTS
        }
        for weight in WEIGHTS:
            off = [one.off_points[weight] for one in grown.values()]
            report.row(
                f"{weight} %: realised",
                f"{weight + min(off):.2f} to {weight + max(off):.2f} %",
                f"within {GOAL_POINTS:g}",
            )
        worst = max(abs(points) for one in grown.values() for points in one.off_points.values())
        report.row("largest difference (points)", f"{worst:.2f}", f"at most {GOAL_POINTS:g}")
        report.failed("realised share", [f"off by {worst:.2f} points"] if worst > GOAL_POINTS else [])
        flips, moved = (sum(getattr(one, name) for one in grown.values()) for name in ("flips", "moved"))
        report.row("conversations that flipped back while the weight grew", str(flips), "0")
        report.failed("growing weight", ["a conversation flipped back"] * flips)
        report.row("that changed their engine within a slot", str(moved), "0")
        report.failed("growing weight", ["a conversation changed its engine within a slot"] * moved)
        firsts = [_first_tenth(router, conversations, salt) for salt in SALTS]
        both = max(len(one & other) / len(one) for i, one in enumerate(firsts) for other in firsts[:i])
        report.row("first tenth that another salt moves first as well", f"{100 * both:.1f} %", "about 10 %")
        router.use({"blue": 70, "green": 30}, SALTS[1])
        share = 100 * sum(slot == "green" for slot, _ in router.draw([""] * CONVERSATIONS)) / CONVERSATIONS
        report.row("requests without a conversation at 30 %: realised", f"{share:.2f} %", f"within {GOAL_POINTS:g}")
        report.failed("requests without a conversation", [f"{share:.2f} %"] if abs(share - 30) > GOAL_POINTS else [])


def _first_tenth(router: Drawing, conversations: Sequence[str], salt: str) -> set[str]:
    router.use({"blue": 90, "green": 10}, salt)
    return {name for name, (slot, _) in zip(conversations, router.draw(conversations), strict=True) if slot == "green"}
