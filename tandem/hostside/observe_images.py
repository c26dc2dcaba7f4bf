"""Runs on the host as root, standard library only: which wanted images are in a local store, by digest.

Input: one JSON argument [images as NAME@sha256:DIGEST].
Output: one JSON line {image: bool}.
"""

import json
import shutil
import subprocess
import sys


def present(image: str) -> bool:
    return subprocess.run(["podman", "image", "exists", image], capture_output=True, check=False).returncode == 0


def main() -> None:
    images = json.loads(sys.argv[1])
    podman = shutil.which("podman") is not None
    print(json.dumps({image: podman and present(image) for image in images}))


if __name__ == "__main__":
    main()
