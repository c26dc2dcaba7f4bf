"""Looks at the host before anything is touched: the question, the rows, and the report of deploys/doctor.py."""

import shutil
import time
from collections.abc import Iterator
from typing import Any, Literal

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from tandem.config import Config
from tandem.config.runtime import Mirror, OciLayout, Registry
from tandem.config.weights import ArchiveSource, FolderSource, HttpSource
from tandem.domain import slots
from tandem.domain.cards import APP_FIELDS, FIELDS
from tandem.domain.checks import CardNeeds, Check, Needs, several
from tandem.domain.doctor import checks, refusals
from tandem.facts.doctor import DoctorState
from tandem.render.doctor import as_json, table

AS_JSON = "json"
"""``--data json=true`` prints JSON instead of the table."""

WIDTHS = (80, 130)
HUB = {"docker.io": "registry-1.docker.io"}
"""Registries that are served under another name than images carry."""


def examine(config: Config, ask: Literal["all", "missing"]) -> tuple[dict[str, Any], list[Check]]:
    """What was found on the host, and the rows that follow. One command; nothing is changed.

    ``ask`` "missing": only those sources of which something is missing on the host.
    """
    needs = _needs(config)
    answer: dict[str, Any] = host.get_fact(DoctorState, question=_question(config, needs, ask), _sudo=False)
    found = {**answer, "skew_seconds": answer.get("time", 0.0) - time.time()}
    return found, checks(needs, found)


def report(config: Config) -> None:
    """Prints the table, or with ``--data json=true`` one line of JSON, on standard output.

    Raises DeployError when a check fails, so that the exit status is not 0.
    """
    wanted = host.data.get(AS_JSON, False)
    if not isinstance(wanted, bool):
        raise DeployError(f"--data {AS_JSON}=... is neither true nor false; nothing was changed on {host.name}")
    _, rows = examine(config, "all")
    columns = shutil.get_terminal_size((110, 24)).columns
    width = min(max(columns, WIDTHS[0]), WIDTHS[1])
    print(as_json(host.name, rows) if wanted else "\n" + table(host.name, rows, width), flush=True)
    failed = refusals(rows)
    if failed:
        raise DeployError(
            f"{host.name} can't be provisioned: {several(len(failed), 'check')} failed; nothing was changed on it"
        )


def _question(config: Config, needs: Needs, ask: str) -> dict[str, Any]:
    """See ``tandem.hostside.observe_doctor``."""
    runtime, directory = config.runtime, config.weights.directory
    folders = [path for found in needs.folders.values() for path in found]
    paths = [path for path in (needs.weights_device, needs.bundle) if path]
    return {
        "ports": sorted(needs.ports),
        "uids": slots.UIDS,
        "folders": sorted({*needs.disk_folders, directory}),
        "stores": list(runtime.additional_image_stores),
        "image_stores": [runtime.image_store, *runtime.additional_image_stores],
        "paths": [*paths, *folders],
        "images": [config.wanted.image, config.webui.image],
        "models": [f"{directory}/{config.wanted.model.revision}"],
        "sources": {kind: list(found) for kind, found in needs.sources.items()},
        "ask": "none" if config.bundle else ask,
        "limit_seconds": config.doctor.network_timeout_seconds,
        "card_fields": FIELDS,
        "app_fields": APP_FIELDS,
    }


def _needs(config: Config) -> Needs:
    return Needs(
        memory_gib=config.host.minimum_memory_gib,
        disk_gib=config.host.minimum_disk_gib,
        ports=_ports(config),
        accept_untested_os=config.host.accept_untested_os,
        advised_memory_gib=config.doctor.advised_memory_gib,
        advised_processors=config.doctor.advised_processors,
        disk_wear_percent=config.doctor.maximum_disk_wear_percent,
        disk_folders=tuple(sorted({"/", config.runtime.image_store})),
        weights_directory=config.weights.directory,
        weights_bytes=sum(file.bytes for file in config.wanted.model.manifest.files.values()),
        weights_device=config.storage.device if config.storage else "",
        bundle=config.bundle.path if config.bundle else "",
        sources={} if config.bundle else _sources(config),
        folders={} if config.bundle else _folders(config),
        cards=CardNeeds(
            cards=config.engine.cards,
            driver_source=config.gpu.driver_source,
            driver_branch=config.gpu.driver_branch,
            cuda=config.wanted.cuda,
            container_toolkit=config.gpu.container_toolkit,
            memory_mib=config.doctor.minimum_card_memory_mib,
            foreign_memory_mib=config.doctor.maximum_foreign_card_memory_mib,
            link_generation=config.doctor.advised_link_generation,
            link_width=config.doctor.advised_link_width,
            power_limit_watts=config.gpu.power_limit_watts,
        ),
    )


def _sources(config: Config) -> dict[str, tuple[str, ...]]:
    """Addresses by kind. Debian's own packages come from the sources that the host has."""
    found = {"packages": (), "images": tuple(dict.fromkeys(_registries(config))), "weights": tuple(_hubs(config))}
    if config.gpu.driver_source == "nvidia":
        found["driver"] = tuple(repository.url.rstrip("/") for repository in config.gpu.repositories)
    return found


def _registries(config: Config) -> Iterator[str]:
    for source in config.runtime.image_sources:
        scheme = "http" if isinstance(source, Registry | Mirror) and source.insecure else "https"
        if isinstance(source, Mirror):
            yield f"{scheme}://{source.prefix.partition('/')[0]}"
        elif isinstance(source, Registry):
            for image in (config.wanted.image, config.webui.image):
                name = image.partition("/")[0]
                yield f"{scheme}://{HUB.get(name, name)}"


def _hubs(config: Config) -> Iterator[str]:
    for source in config.weights.sources:
        if isinstance(source, HttpSource):
            yield source.url
        elif not isinstance(source, FolderSource | ArchiveSource):
            yield source.endpoint


def _folders(config: Config) -> dict[str, tuple[str, ...]]:
    layouts = tuple(source.path for source in config.runtime.image_sources if isinstance(source, OciLayout))
    models = tuple(s.path for s in config.weights.sources if isinstance(s, FolderSource | ArchiveSource))
    return {"images": layouts, "weights": models}


def _ports(config: Config) -> dict[int, str]:
    return {
        config.edge.https_port: "the edge (HTTPS)",
        config.edge.http_port: "the edge (HTTP redirect)",
        slots.ROUTER_ENGINE_API_PORT: "the engine router",
        slots.ROUTER_ENGINE_WEBUI_PORT: "the engine router",
        slots.ROUTER_WEBUI_PORT: "the WebUI router",
        slots.GATE_PORT: "the gate",
        **{port: f"the status of {unit}" for unit, port in slots.STATUS_PORT.items()},
        **{port: f"Open WebUI ({slot})" for slot, port in slots.WEBUI_PORT.items()},
        **{
            slots.engine_port(slot, card): slots.engine_unit(slot, card)
            for slot in slots.SLOTS
            for card in config.engine.cards
        },
    }
