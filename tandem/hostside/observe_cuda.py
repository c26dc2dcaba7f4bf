"""Runs on the host as root, standard library only: is CUDA proven for what there is now? Changes nothing.

Input: one JSON argument {"image", "cards": [indexes], "environment": {name: value}}.
Output: one JSON line {"proven", "driver": the loaded module's version, "change": {"from", "to"} of a driver that was
changed and is not proven yet, else {}, "boot_id"}.
"""

import json
import sys

from tandem.hostside.cuda_proof import proven
from tandem.hostside.gpu_state import loaded, recorded, text

CHANGE = "/var/lib/tandem/driver/change.json"


def main() -> None:
    job = json.loads(sys.argv[1])
    boot_id = text("/proc/sys/kernel/random/boot_id").strip()
    print(json.dumps({"proven": proven(job), "driver": loaded(), "change": recorded(CHANGE), "boot_id": boot_id}))


if __name__ == "__main__":
    main()
