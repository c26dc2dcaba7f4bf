"""Runs on the host as root, standard library only: brings one image into Podman's store, by digest.

Input: one JSON argument {"image": NAME@sha256:DIGEST, "temporary": folder,
"sources": [{"kind": "registry"|"mirror"|"oci-layout", ...}]}.
Sources are tried in order; the first that has the digest wins. skopeo checks the digest itself. Where none has it, one
line per source says what that source answered, and the exit status is 1.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

LIMIT_SECONDS = 3600


def mirrored(image: str, prefix: str) -> str:
    """``registry.example/team/app@d`` behind ``mirror:5000/cache`` is ``mirror:5000/cache/team/app@d``."""
    first, _, rest = image.partition("/")
    is_registry = "." in first or ":" in first or first == "localhost"
    return f"{prefix}/{rest if is_registry else image}"


def command(image: str, source: dict[str, Any], temporary: str) -> list[str]:
    """skopeo stores the image under its own name whatever it was read from, and refuses content of another digest."""
    name, _, digest = image.partition("@")
    target = f"containers-storage:{name}@{digest}"
    copy = ["skopeo", f"--tmpdir={temporary}", "copy", "--quiet", "--preserve-digests"]
    if source["kind"] == "oci-layout":
        return [*copy, f"oci:{source['path']}:@{index_of(source['path'], digest)}", target]
    origin = mirrored(image, source["prefix"]) if source["kind"] == "mirror" else image
    return [*copy, f"--src-tls-verify={'false' if source['insecure'] else 'true'}", f"docker://{origin}", target]


def index_of(path: str, digest: str) -> int:
    """Which entry of the layout's index.json is this manifest; LookupError when none is or it is no layout."""
    if os.path.isfile(path):
        raise LookupError("it is a file, not an OCI layout folder; archives (docker save) lose the digest")
    with open(f"{path}/index.json") as file:
        digests = [entry["digest"] for entry in json.load(file)["manifests"]]
    if digest not in digests:
        raise LookupError(f"index.json has {', '.join(digests) or 'nothing'}")
    return digests.index(digest)


def attempt(image: str, source: dict[str, Any], temporary: str) -> str:
    """ "" when the image was brought, else what went wrong."""
    try:
        result = subprocess.run(
            command(image, source, temporary), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
        )
    except (LookupError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if result.returncode == 0 else (result.stderr.strip().splitlines() or ["no reason given"])[-1]


def main() -> None:
    job = json.loads(sys.argv[1])
    image, failures = job["image"], []
    os.makedirs(job["temporary"], mode=0o700, exist_ok=True)
    for source in job["sources"]:
        began = time.monotonic()
        where = source.get("prefix") or source.get("path") or "its registry"
        print(f"bringing {image} from {where}", flush=True)
        failure = attempt(image, source, job["temporary"])
        if not failure:
            print(f"brought it in {time.monotonic() - began:.0f} s", flush=True)
            return
        failures.append(f"  {source['kind']} ({where}): {failure}")
    reasons = "\n".join(failures)
    sys.exit(
        f"no source has the image {image}:\n{reasons}\n"
        "nothing was started or stopped; check the digest in the release and runtime.image_sources"
    )


if __name__ == "__main__":
    main()
