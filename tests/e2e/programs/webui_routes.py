"""Runs in the WebUI's container with its Python and a data folder of its own: every route, as one JSON line.

Output: [[path, [methods]], ...]; a mounted application has the method "MOUNT", a websocket "WEBSOCKET".
"""

import json

from open_webui.main import app  # type: ignore[import-not-found]
from starlette.routing import Mount  # type: ignore[import-not-found]


def methods(route: object) -> list[str]:
    return sorted(getattr(route, "methods", None) or ["MOUNT" if isinstance(route, Mount) else "WEBSOCKET"])


print(json.dumps([[route.path, methods(route)] for route in app.routes]))
