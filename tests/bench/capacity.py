"""python -m tests.bench.capacity [STATE]: what tandem.domain.capacity says beside what vLLM itself computes.

vLLM's functions run inside the engine image that `make rehearse` built, without network. Exits 1 when one figure
differs: blocks, tokens, concurrency, whether it starts and the longest conversation that would; weights within 0.2 %.
"""

import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tandem.domain.capacity import REPLICAS, TENSOR_PARALLEL, Assessment, assess
from tandem.rehearsal.image_store import opened, require_root, run_inside
from tests.unit.model_configs import ALL, WEIGHT_BYTES

PROGRAM = Path(__file__).with_name("capacity_by_vllm.py")
GIB = 2**30
HUGE_CARD_MIB = 1024 * 1024  # so that the card never limits: what is compared is the arithmetic
WEIGHTS_TOLERANCE = 0.002  # small tensors that every card holds whole


def cases(name: str) -> list[dict[str, Any]]:
    usual = {"block_tokens": 16, "batched": 2048, "async": True, "one_kind": False}
    if name == "rehearsal model":
        return [{**usual, "block_tokens": 128, "async": False, "kv_bytes": GIB, "max_model_len": 8192}]
    lengths = (16384, 32768, 65536, 131072) if ALL[name]["max_position_embeddings"] > 32768 else (4096, 16384, 32768)
    found = [{**usual, "kv_bytes": gib * GIB, "max_model_len": at} for gib in (1, 2, 4, 5, 6, 7) for at in lengths]
    odd = {**usual, "kv_bytes": 3_333_333_333, "max_model_len": 10_001}
    return [
        *found,
        odd,
        {**odd, "async": False},
        {**odd, "batched": 8192},
        {**odd, "block_tokens": 64},
        {**odd, "one_kind": True},
    ]


def ours(config: dict[str, Any], weight_bytes: int, case: dict[str, Any], cards: int) -> Assessment:
    arguments = {
        "max-model-len": case["max_model_len"],
        "kv-cache-memory-bytes": case["kv_bytes"],
        "block-size": case["block_tokens"],
        "max-num-batched-tokens": case["batched"],
        "async-scheduling": case["async"],
        "disable-hybrid-kv-cache-manager": case["one_kind"],
    }
    topology = TENSOR_PARALLEL if cards > 1 else REPLICAS
    return assess(config, weight_bytes, arguments, [HUGE_CARD_MIB] * cards, topology)


def by_vllm(state: Path, work: Path, scratch: Path, cards: int) -> list[dict[str, Any]]:
    image = str(json.loads((state / "images.json").read_text())["engine"])
    environment = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_DIST_IDENT": "none", "VLLM_CACHE_ROOT": "/mnt/cache"}
    with opened(state / "images", image, scratch) as root:
        said = run_inside(root, ["python3", f"/mnt/{PROGRAM.name}", "/mnt/cases.json", str(cards)], work, environment)
    return [json.loads(line.removeprefix("FOUND ")) for line in said.splitlines() if line.startswith("FOUND ")]


def main(arguments: list[str]) -> int:
    require_root()
    state = Path(arguments[0] if arguments else ".rehearsal").resolve()
    rows = [(name, case) for name in ALL for case in cases(name)]
    stored: dict[str, int] = {}
    differing = 0
    with TemporaryDirectory() as work, TemporaryDirectory() as scratch:
        shutil.copy(PROGRAM, work)
        wanted = {name: {"config": config, "cases": cases(name)} for name, config in ALL.items()}
        Path(work, "cases.json").write_text(json.dumps(wanted))
        for cards in (1, 2):
            print(f"asking vLLM about {cards} card{'s' * (cards > 1)}, 1 to 3 minutes", flush=True)
            found = by_vllm(state, Path(work), Path(scratch), cards)
            stored = stored or {one["model"]: one["weights"] for one in found} | WEIGHT_BYTES
            for (name, case), theirs in zip(rows, found, strict=True):
                differing += not report(name, case, cards, ours(ALL[name], stored[name], case, cards), theirs)
    print(f"{2 * len(rows)} compared, {differing} differ")
    return 1 if differing else 0


def report(name: str, case: dict[str, Any], cards: int, mine: Assessment, theirs: dict[str, Any]) -> bool:
    """Prints one comparison; True when all figures agree."""
    if theirs["starts"]:
        left = f"{mine.blocks} blocks, {mine.kv_tokens} tokens, {mine.concurrency:.4f}x"
        right = f"{theirs['blocks']} blocks, {theirs['tokens']} tokens, {theirs['concurrency']:.4f}x"
    else:
        right = f"does not start, at most {theirs['largest']}"
    if mine.kv_bytes_per_card < mine.request_bytes:
        left = f"does not start, at most {mine.largest_model_len}"
    elif not theirs["starts"]:
        left = "starts"
    weights = abs(mine.weights_bytes_per_card / theirs["weights"] - 1) <= WEIGHTS_TOLERANCE
    same = left == right and weights
    what = ", ".join(f"{key} {value}" for key, value in case.items())
    print(f"{'same' if same else 'DIFFERS'}  {name}, {cards} cards, {what}: ours {left}; vLLM {right}; weights "
          f"{mine.weights_bytes_per_card / GIB:.3f} and {theirs['weights'] / GIB:.3f} GiB", flush=True)  # fmt: skip
    return same


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
