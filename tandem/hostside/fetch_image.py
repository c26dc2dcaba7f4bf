"""Runs on the host as root, standard library only: brings one image into Podman's store, by digest.

Input: one JSON argument {"image": NAME@sha256:DIGEST, "temporary": folder,
"sources": [{"kind": "registry"|"mirror"|"oci-layout", ...}]}.
Sources are tried in order; the first that has the digest wins. skopeo checks the digest itself. A slow source has all
the time it needs, a silent one is given up. Where none has it, one line per source says what that source answered, and
the exit status is 1.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

SILENT_SECONDS = 600.0
"""So long skopeo may neither read nor write: registries and slow disks make it wait for less."""
TELL_SECONDS = 60.0
LOOK_SECONDS = 2.0


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
        return watched(command(image, source, temporary), SILENT_SECONDS, TELL_SECONDS, LOOK_SECONDS)
    except (LookupError, OSError) as error:
        return str(error)


def watched(words: list[str], silent_seconds: float, tell_seconds: float, look_seconds: float) -> str:
    """Run a program until it ends or is silent for too long; "" when it succeeded, else the last line of its errors."""
    began = heard = told = time.monotonic()
    seen = 0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            while True:
                try:
                    process.wait(look_seconds)
                    break
                except subprocess.TimeoutExpired:
                    now, moved = time.monotonic(), bytes_moved(process.pid)
                if moved != seen:
                    seen, heard = moved, now
                if now - heard >= silent_seconds:
                    return f"nothing came for {silent_seconds:.0f} s, so it was given up after {now - began:.0f} s"
                if now - told >= tell_seconds:
                    told = now
                    print(f"  still bringing it ({now - began:.0f} s so far)", flush=True)
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    return "" if process.returncode == 0 else (said or ["no reason given"])[-1]


def bytes_moved(pid: int) -> int:
    """What a process has read and written so far, from sockets as well (proc(5), io: rchar and wchar)."""
    try:
        with open(f"/proc/{pid}/io") as file:
            figures = dict(line.split(": ") for line in file)
        return int(figures["rchar"]) + int(figures["wchar"])
    except (OSError, KeyError, ValueError):
        return 0


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
