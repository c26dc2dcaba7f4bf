"""For which driver, image and CDI specification CUDA was proven in a container. Standard library only."""

import hashlib
from pathlib import Path
from typing import Any

from tandem.domain.cuda import key
from tandem.hostside.gpu_state import loaded, recorded, sha256, specifications

PROOF = Path("/var/lib/tandem/cuda-proof.json")


def present(job: dict[str, Any]) -> list[Any]:
    """The key of a proof that would hold now, for {"image", "cards", "environment"}."""
    specification = hashlib.sha256("".join(sha256(path) for path in specifications()).encode()).hexdigest()
    return key(loaded(), job["image"], specification, job["cards"], job["environment"])


def proven(job: dict[str, Any]) -> bool:
    return bool(recorded(str(PROOF)).get("key") == present(job))
