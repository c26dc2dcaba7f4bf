"""What the edge's certificate is wanted to be, and the timer that renews it. Pure; no secret."""

import json
from typing import Any, Final

from tandem.config import Config
from tandem.domain.slots import UIDS
from tandem.domain.units import Unit
from tandem.render.templates import render_template
from tandem.render.tree import Directory, Entry, File, Tree

WANTED: Final = "/etc/tandem/certificate.json"
ACME: Final = "/var/lib/tandem/acme"
CHALLENGES: Final = f"{ACME}/challenges"
UNIT: Final = "tandem-certificate"


def wanted_certificate(config: Config) -> dict[str, Any]:
    """The kind and what it needs, as ``tandemctl`` reads it; the operator's own certificate travels apart."""
    certificate = config.edge.certificate
    if certificate.kind == "acme":
        return {
            "kind": "acme",
            "email": certificate.email,
            "directory": certificate.directory,
            "authority": certificate.authority or "",
        }
    return {"kind": certificate.kind}


def wanted_record(config: Config) -> dict[str, Any]:
    """The certificate with its names, the main one first: the content of certificate.json."""
    names = [config.edge.server_name, *config.edge.alternative_names]
    return {"names": names, "certificate": wanted_certificate(config)}


def render_certificate(config: Config) -> Tree:
    """certificate.json, the timer and its service, and where an ACME authority's questions are answered from."""
    acme = config.edge.certificate.kind == "acme"
    entries: dict[str, Entry] = {
        WANTED: File(json.dumps(wanted_record(config), indent=2) + "\n"),
        f"/etc/systemd/system/{UNIT}.service": File(
            render_template("certificate/tandem-certificate.service.j2", acme=acme)
        ),
        f"/etc/systemd/system/{UNIT}.timer": File(render_template("certificate/tandem-certificate.timer.j2")),
    }
    if acme:
        entries[ACME] = Directory("0711")
        entries[CHALLENGES] = Directory("0750", gid=UIDS["tandem-edge"])
    return Tree(entries)


def certificate_units(config: Config) -> list[Unit]:
    return [Unit(f"{UNIT}.timer"), Unit(f"{UNIT}.service", enable=False, run=False)]


def packages(config: Config) -> list[str]:
    """Debian packages that this kind of certificate needs beside those that every host has."""
    return ["dehydrated"] if config.edge.certificate.kind == "acme" else []
