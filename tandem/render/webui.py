"""Open WebUI of one slot, and the library of prompts that it is given."""

import json
from dataclasses import asdict
from typing import Final

from tandem.config import Config
from tandem.domain.slots import ROUTER_ENGINE_WEBUI_PORT, UIDS, WEBUI_PORT, webui_unit
from tandem.render.engine import QUADLETS
from tandem.render.templates import render_template
from tandem.render.tree import Directory, File, Tree

LIBRARY: Final = "/etc/tandem/prompts.json"


def origin(config: Config) -> str:
    """Where people find the page: ``https://name`` with the port where it is not 443."""
    return _origin(config, config.edge.server_name)


def origins(config: Config) -> list[str]:
    """Every place where people may find it: Open WebUI refuses the websockets of pages from elsewhere."""
    return [_origin(config, name) for name in dict.fromkeys([config.edge.server_name, *config.edge.alternative_names])]


def _origin(config: Config, name: str) -> str:
    """As a browser writes it: in lower case, an IPv6 address in brackets."""
    port = config.edge.https_port
    host = f"[{name}]" if ":" in name else name
    return f"https://{host.lower()}" + ("" if port == 443 else f":{port}")


def data_directory(slot: str) -> str:
    return f"/var/lib/tandem/webui/{slot}"


def webui_path(slot: str) -> str:
    return f"{QUADLETS}/{webui_unit(slot)}.container"


def render_webui(config: Config, slot: str) -> Tree:
    uid = UIDS["tandem-webui"]
    text = render_template(
        "webui/open-webui.container.j2",
        slot=slot,
        unit=webui_unit(slot),
        image=config.webui.image,
        uid=uid,
        data_directory=data_directory(slot),
        environment=sorted(_environment(config, slot).items()),
    )
    return Tree(
        {
            data_directory(slot): Directory(mode="0700", uid=uid, gid=uid),
            webui_path(slot): File(text),
        }
    ) | render_library(config)


def render_library(config: Config) -> Tree:
    """The prompts: all that is rendered for a WebUI of another image than the wanted one."""
    return Tree({"/var/lib/tandem/webui": Directory(mode="0711"), LIBRARY: File(_library(config))})


def _library(config: Config) -> str:
    return json.dumps([asdict(prompt) for prompt in config.webui.library], indent=1, ensure_ascii=False) + "\n"


def _environment(config: Config, slot: str) -> dict[str, str]:
    return {
        # The image's own start script listens where these two say.
        "HOST": "127.0.0.1",
        "PORT": str(WEBUI_PORT[slot]),
        "HOME": "/tmp",  # noqa: S108 - the container's own tmpfs
        "DATA_DIR": "/data",
        # Emptied and refilled at every start.
        "STATIC_DIR": "/tmp/static",  # noqa: S108
        "WEBUI_NAME": config.webui.name,
        "WEBUI_URL": origin(config),
        "CORS_ALLOW_ORIGIN": ";".join(origins(config)),
        "FORWARDED_ALLOW_IPS": "127.0.0.1",
        "WEBUI_ADMIN_EMAIL": config.webui.admin_email,
        "WEBUI_ADMIN_NAME": config.webui.admin_name,
        # Said aloud: the automatic "off" after the first administrator is lost when settings are reset.
        "ENABLE_SIGNUP": "false",
        "WEBUI_SESSION_COOKIE_SECURE": "true",
        "WEBUI_AUTH_COOKIE_SECURE": "true",
        # The router's address never changes; which slot answers behind it does.
        "OPENAI_API_BASE_URL": f"http://127.0.0.1:{ROUTER_ENGINE_WEBUI_PORT}/v1",
        "ENABLE_OLLAMA_API": "false",
        "DEFAULT_MODELS": config.wanted.model.name,
        # Otherwise a model is for administrators only until one of them has shared it.
        "BYPASS_MODEL_ACCESS_CONTROL": "true",
        # Its lower levels write e-mail addresses, searches, and pieces of chats that an error quotes.
        "GLOBAL_LOG_LEVEL": "CRITICAL",
        # The router keys on the chat, so that a conversation stays with one release.
        "ENABLE_FORWARD_USER_INFO_HEADERS": "true",
        "OFFLINE_MODE": "true",
        "HF_HUB_OFFLINE": "1",
        "ENABLE_VERSION_UPDATE_CHECK": "false",
        # The built-in embedding model would be downloaded at first use.
        "RAG_EMBEDDING_ENGINE": "openai",
        # With no embedding model a file is given to the model whole.
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "true",
        # They would need one too.
        "ENABLE_MEMORIES": "false",
        "ANONYMIZED_TELEMETRY": "false",
        "DO_NOT_TRACK": "true",
        "SCARF_NO_ANALYTICS": "true",
        # Code from chats would run on this host's page server.
        "ENABLE_CODE_EXECUTION": "false",
        "ENABLE_DIRECT_CONNECTIONS": "false",
        # It would send chats to a public site.
        "ENABLE_COMMUNITY_SHARING": "false",
    }
