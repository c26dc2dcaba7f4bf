"""Makes the CDI specification of this driver and this boot: how containers reach the cards. Standard library only."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tandem.hostside.files import sync_directory, write_atomic
from tandem.hostside.gpu_state import CDI, CDI_MADE, loaded, other_specifications, sha256
from tandem.hostside.gpu_state import cards as on_bus

DRAFT = Path("/run/tandem/cdi/nvidia.yaml")
TRY_EVERY_SECONDS = 1.0


class NotMade(Exception):
    """Why there is no specification, in one sentence."""


def refresh(cards: Sequence[int], wait_seconds: float) -> str:
    """Generates, checks and publishes /run/cdi/nvidia.yaml; tries again until ``wait_seconds`` are over.

    Device nodes appear some time after the module is loaded, so the first tries after a boot may fail. A card that is
    still not there then is left out, so that the others serve. Raises NotMade; a specification that was there stays.
    """
    until = time.monotonic() + wait_seconds
    while True:
        try:
            return _once(cards, ())
        except NotMade as problem:
            if time.monotonic() < until:
                time.sleep(TRY_EVERY_SECONDS)
                continue
            nodes = [card for card in cards if os.path.exists(f"/dev/nvidia{card}")]
            # A card that is on the bus and does not start has a node, and no entry.
            named = names(DRAFT.read_text()) if DRAFT.exists() else set()
            there = [card for card in nodes if str(card) in named] if named else nodes
            missing = [card for card in cards if card not in there]
            if not there or not missing:
                raise
            return f"{_once(there, missing)}; the engine of card {_list(missing)} can't start: {problem}"


def _list(cards: Sequence[int]) -> str:
    return ", ".join(map(str, cards))


def _once(cards: Sequence[int], missing: Sequence[int]) -> str:
    driver = loaded()
    if not driver:
        raise NotMade("the NVIDIA module is not loaded: `modprobe nvidia` says why, `journalctl -k` says more")
    make_nodes(cards)
    absent = [card for card in cards if not os.path.exists(f"/dev/nvidia{card}")]
    if absent:
        raise NotMade(
            f"no /dev/nvidia{_list(absent)}: is each of the configured cards (engine/cards) alive (nvidia-smi)?"
        )
    DRAFT.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    DRAFT.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            ["nvidia-ctk", "cdi", "generate", f"--output={DRAFT}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotMade(f"nvidia-ctk can't be run ({error}): is nvidia-container-toolkit-base installed?") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise NotMade(f"nvidia-ctk cdi generate failed and said: {said}")
    check(DRAFT.read_text(), cards, driver)
    return _publish(cards, missing, driver)


def make_nodes(cards: Sequence[int]) -> None:
    """Device nodes are made by whoever asks first; where nobody has, NVIDIA's own tool does.

    It makes a node for any number, so it is asked for those cards only that are on the bus.
    """
    present = len(on_bus())
    tool = shutil.which("nvidia-modprobe")
    if tool and not os.path.exists("/dev/nvidia-uvm"):
        subprocess.run([tool, "-u", "-c=0"], capture_output=True, check=False, timeout=60)
    for card in cards:
        if tool and card < present and not os.path.exists(f"/dev/nvidia{card}"):
            subprocess.run([tool, f"-c={card}"], capture_output=True, check=False, timeout=60)


def check(specification: str, cards: Sequence[int], driver: str) -> None:
    """Raises NotMade when a card is missing, or a library of another driver is named."""
    there = names(specification)
    missing = [str(card) for card in cards if str(card) not in there]
    if missing:
        raise NotMade(f"the specification has no card {', '.join(missing)}, only {', '.join(sorted(there)) or 'none'}")
    others = set(re.findall(r"libcuda\.so\.(\d+\.[\d.]*\d)", specification)) - {driver}
    if others:
        raise NotMade(
            f"the specification names libcuda {', '.join(sorted(others))} and the loaded module is {driver}: "
            "reboot this host"
        )


def names(specification: str) -> set[str]:
    """The devices that a specification describes."""
    return set(re.findall(r"""^[\s"'-]*name["']?:\s*["']?([\w.:-]+)""", specification, re.MULTILINE))


def _publish(cards: Sequence[int], missing: Sequence[int], driver: str) -> str:
    path = Path(CDI)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    DRAFT.chmod(0o644)
    same = sha256(str(DRAFT)) == sha256(CDI)
    # One file system, so a container that starts now reads the old one or the new one.
    DRAFT.rename(path)
    sync_directory(path.parent)
    made = {
        "driver": driver,
        "cards": [str(card) for card in cards],
        "missing": [str(card) for card in missing],
        "sha256": sha256(CDI),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomic(Path(CDI_MADE), json.dumps(made) + "\n")
    others = "".join(f"; {other} describes the same cards: remove it" for other in other_specifications())
    verb = "unchanged" if same else "made"
    return f"{CDI} {verb}: cards {_list(cards)} with driver {driver}{others}"
