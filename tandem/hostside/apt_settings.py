"""How Tandem calls apt on a host, whatever it installs."""

from collections.abc import Sequence

LISTS_SECONDS = 300
"""How long another apt may hold the package lists: a new server refreshes them by itself soon after its first boot."""
LOCKED_SECONDS = 5


def apt_words(timeout_seconds: int, options: Sequence[str] = ()) -> list[str]:
    """``-o NAME=VALUE`` words. ``timeout_seconds``: for a mirror that sends nothing; ``options``: further settings."""
    settings = (
        "DPkg::Lock::Timeout=300",
        f"Acquire::http::Timeout={timeout_seconds}",
        f"Acquire::https::Timeout={timeout_seconds}",
        "Acquire::Retries=3",
        "Dpkg::Options::=--force-confdef",
        "Dpkg::Options::=--force-confold",
        "Dpkg::Use-Pty=0",
        *options,
    )
    return [word for setting in settings for word in ("-o", setting)]


def lists_are_locked(said: str) -> bool:
    """Whether apt-get update gave up because another one runs: DPkg::Lock::Timeout does not wait for this lock."""
    return "Could not get lock" in said and "lists/lock" in said
