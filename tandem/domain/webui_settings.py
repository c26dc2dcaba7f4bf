"""Which of Open WebUI's settings belong to this host, and what they have to be.

Open WebUI copies its environment into its database at the first start; from then on what it keeps there wins, whoever
put it there. The settings named here are made to follow the environment again; all others are the administrator's.
"""

from collections.abc import Collection, Mapping
from itertools import zip_longest
from typing import Any, Final

FOLLOWING: Final = {
    "ENABLE_CODE_EXECUTION": "code_execution.enable",
    "ENABLE_COMMUNITY_SHARING": "ui.enable_community_sharing",
    "ENABLE_DIRECT_CONNECTIONS": "direct.enable",
    "ENABLE_SIGNUP": "ui.enable_signup",
    "WEBUI_URL": "webui.url",
}
"""Variable -> the name under which Open WebUI 0.12 keeps its value."""
MODEL: Final = ("DEFAULT_MODELS", "ui.default_models")
URLS: Final = ("OPENAI_API_BASE_URL", "openai.api_base_urls")
KEYS: Final = "openai.api_keys"

NAMES: Final = (*FOLLOWING.values(), MODEL[1], URLS[1], KEYS)


def mend(
    environment: Mapping[str, str], key: str, kept: Mapping[str, Any], made: Collection[str]
) -> tuple[list[str], dict[str, Any]]:
    """The names that Open WebUI has to forget, so that it takes them from its environment, and values to put in.

    ``environment``: of its unit; what that does not say stays. ``key``: of the connection to the engines. ``kept``:
    {name: value} of its database. ``made``: the models that people made on top of the one that is served.
    """
    forget = [
        name
        for variable, name in FOLLOWING.items()
        if variable in environment and name in kept and not _same(kept[name], environment[variable])
    ]
    model, name = MODEL
    if model in environment and name in kept and not _chosen(kept[name], {environment[model], *made}):
        forget.append(name)
    if URLS[0] not in environment or URLS[1] not in kept:
        return forget, {}
    return forget, _connections(environment[URLS[0]], key, kept[URLS[1]], kept.get(KEYS))


def _same(kept: Any, said: str) -> bool:
    return kept == said or (isinstance(kept, bool) and str(kept).lower() == said.lower())


def _chosen(kept: Any, known: Collection[str]) -> bool:
    """Whether the models that are selected for a new chat name one that there is."""
    return isinstance(kept, str) and any(name.strip() in known for name in kept.split(","))


def _connections(url: str, key: str, urls: Any, keys: Any) -> dict[str, Any]:
    """Ours with its key, among those of the administrator; the order stays, because other settings count by it."""
    there = urls if isinstance(urls, list) else []
    known = keys[: len(there)] if isinstance(keys, list) else []
    pairs = [(one, key if one == url else its) for one, its in zip_longest(there, known, fillvalue="")]
    if url not in there:
        pairs.append((url, key))
    wanted = {URLS[1]: [one for one, _ in pairs], KEYS: [its for _, its in pairs]}
    return {} if wanted == {URLS[1]: urls, KEYS: keys} else wanted
