"""What the guard is told of where notices go. Pure; the address itself is a secret on the host."""

from typing import Any

from tandem.config.notify import NotifyConfig


def notify_settings(notify: NotifyConfig | None) -> dict[str, Any] | None:
    """``{"command": [...]}``, ``{"url": True}``: the address is in the secret notify_url, or None: nobody is told."""
    if notify is None:
        return None
    return {"command": list(notify.command)} if notify.command else {"url": True}
