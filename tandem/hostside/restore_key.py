"""A key for one restore: the backup comes encrypted to it, and the operator's own key stays where it is. As root."""

import os
import subprocess
from pathlib import Path

from tandem.domain.refused import Refused
from tandem.hostside.paths import Paths


def new_key(paths: Paths, token: str) -> str:
    """Make a key for one restore and return its public half: the operator's own key then never leaves their machine.

    ``token``: the restore's own name for it, letters and digits.
    """
    path = file(paths, token)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    old = os.umask(0o077)
    try:
        subprocess.run(
            ["age-keygen", "-o", str(path)], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True
        )
    finally:
        os.umask(old)
    shown = subprocess.run(["age-keygen", "-y", str(path)], capture_output=True, text=True, timeout=30, check=True)
    return shown.stdout.strip()


def file(paths: Paths, token: str) -> Path:
    """In memory; it is removed by the restore that it is for."""
    return paths.root / f"run/tandem/restore-{token}.key"


def kept(paths: Paths, token: str) -> str:
    """Its text. Raises Refused when there is none."""
    try:
        return file(paths, token).read_text(encoding="ascii")
    except FileNotFoundError:
        raise Refused("no identity was given on standard input. Nothing was changed.") from None
