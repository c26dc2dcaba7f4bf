"""The figures of one release on one host's cards, and the words for topologies and upgrades. Pure."""

from dataclasses import dataclass
from typing import Final

GIB: Final = 2**30
MIB: Final = 2**20

REPLICAS: Final = "replicas"
TENSOR_PARALLEL: Final = "tensor-parallel"
TOPOLOGIES: Final = (REPLICAS, TENSOR_PARALLEL)

SIDE_BY_SIDE: Final = "side-by-side"
TAKE_TURNS: Final = "take-turns"
RECREATE: Final = "recreate"

CONTEXT_MIB: Final = 470
"""One process's CUDA context, seen on an RTX 4090. vLLM makes it before it looks for free memory."""


@dataclass(frozen=True)
class Assessment:
    """What one release needs and gives. Bytes are per card, of the smallest card."""

    topology: str
    engines: int
    cards_per_engine: int
    card_bytes: int
    """What CUDA offers of the card."""
    held_bytes: int
    """What others hold of it."""
    weights_bytes_per_card: int
    overhead_bytes_per_card: int
    kv_bytes_per_card: int
    kv_explicit: bool
    """Whether kv-cache-memory-bytes was given; else the KV cache takes what gpu-memory-utilization leaves."""
    utilization: float
    kv_bytes_per_token: int
    """What each further token of a conversation costs, once its windows are full."""
    block_tokens: int
    block_bytes: int
    blocks: int
    blocks_per_request: int
    max_model_len: int
    largest_model_len: int
    """The longest conversation for which these blocks suffice, up to what the model was made for; 0: none."""
    max_num_seqs: int
    uncounted: tuple[str, ...]
    """Given options whose effect on memory is not in these figures."""
    refusal: str = ""
    """Why the release cannot start here; "" when it can."""
    strategy: str = ""
    """How to upgrade to a release that needs the same; "" for a refused one."""

    @property
    def room_bytes(self) -> int:
        """What Tandem may use of the card."""
        return self.card_bytes - self.held_bytes

    @property
    def fixed_bytes_per_card(self) -> int:
        """All that is not KV cache."""
        return self.weights_bytes_per_card + self.overhead_bytes_per_card

    @property
    def need_bytes_per_card(self) -> int:
        return self.fixed_bytes_per_card + self.kv_bytes_per_card

    @property
    def free_bytes_per_card(self) -> int:
        return self.room_bytes - self.need_bytes_per_card

    @property
    def request_bytes(self) -> int:
        """The least KV cache with which vLLM starts: one conversation of ``max_model_len``, and a block it keeps."""
        return (self.blocks_per_request + 1) * self.block_bytes

    @property
    def concurrency(self) -> float:
        """Conversations of ``max_model_len`` that the KV cache of one engine holds: vLLM's "Maximum concurrency"."""
        return self.blocks / self.blocks_per_request

    @property
    def kv_tokens(self) -> int:
        """The "KV cache size" of one engine that vLLM logs; it depends on ``max_model_len``."""
        return int(self.concurrency * self.max_model_len)

    @property
    def conversations(self) -> float:
        """Conversations of ``max_model_len`` that all engines carry at once, at most ``max_num_seqs`` each."""
        return self.engines * min(self.concurrency, self.max_num_seqs)
