"""Checks of where things come from: name servers, apt repositories, registries, mirrors, folders, the bundle. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tandem.domain.checks import Check, Needs, fail, ok, shown, warn

KINDS: Final = {
    "packages": "Debian's packages",
    "driver": "driver packages",
    "images": "images",
    "weights": "weights",
}


def sources(needs: Needs, found: Mapping[str, Any]) -> Iterator[Check]:
    """One row per source that was asked, then one per kind: a kind that is needed and has no source is a fail."""
    yield from (
        fail("image stores", f"there is no folder {path} (runtime/additional_image_stores)", "mount or make it")
        for path in found["missing_stores"]
    )
    if needs.bundle:
        yield _bundle(needs, found)
        return
    network = found["network"]
    kinds = [_kind(needs, found, kind) for kind in KINDS if kind in needs.sources or kind in needs.folders]
    yield _names(network, any(check.level == "fail" for check in kinds))
    shown_once: set[str] = set()
    for kind, addresses in network["asked"].items():
        for address in addresses:
            if address not in shown_once:
                shown_once.add(address)
                yield _source(KINDS[kind], address, network["answers"][address])
    for kind, folders in needs.folders.items():
        yield from (_folder(KINDS[kind], path, path in found["missing_paths"]) for path in folders)
    yield from kinds


def _bundle(needs: Needs, found: Mapping[str, Any]) -> Check:
    if needs.bundle in found["missing_paths"]:
        advice = "mount or copy it there, or take bundle out of the inventory"
        return fail("bundle", f"there is no folder {needs.bundle} (bundle/path)", advice)
    return ok("bundle", f"{needs.bundle}; the network is not asked")


def _names(network: Mapping[str, Any], something_fails: bool) -> Check:
    servers = ", ".join(network["servers"]) or "none in /etc/resolv.conf"
    failed = [address for address in network["names"] if network["answers"][address]["state"] == "no name"]
    if network["names"] and len(failed) == len(network["names"]):
        make = fail if something_fails else warn
        return make(
            "DNS", f"no name could be looked up (name servers: {servers})", "mend /etc/resolv.conf or the network"
        )
    return ok("DNS", f"name servers {servers}")


def _source(what: str, address: str, answer: Mapping[str, Any]) -> Check:
    name, way = f"source of {what}", f" through {answer['proxy']}" if answer.get("proxy") else ""
    if answer["state"] == "answers":
        return ok(name, f"{address} answers{way}, {answer['seconds'] * 1000:.0f} ms")
    if answer["state"] == "no name":
        return warn(name, f"{address}: the name can't be looked up ({answer['why']})", "check the name and DNS")
    if answer["state"] == "missing":
        return warn(name, f"{address}: {answer['why']}", "mount or make it")
    return warn(name, f"{address} does not answer{way} ({answer['why']})", "check address, firewall and proxy")


def _folder(what: str, path: str, missing: bool) -> Check:
    if missing:
        return warn(f"source of {what}", f"there is no {path} on this host", "put it there, or remove the source")
    return ok(f"source of {what}", f"{path} is there")


def _kind(needs: Needs, found: Mapping[str, Any], kind: str) -> Check:
    """Whether what is missing of this kind can come."""
    missing, network = found["absent"][kind], found["network"]
    name = KINDS[kind]
    if not missing:
        return ok(name, "all there")
    folders = needs.folders.get(kind, ())
    asked = network["asked"].get(kind, [])
    answers = [address for address in asked if network["answers"][address]["state"] == "answers"]
    usable = [*answers, *(path for path in folders if path not in found["missing_paths"])]
    if usable:
        return ok(name, f"install brings {shown([_short(one) for one in missing], 2)}")
    if not asked and not folders:
        return ok(name, "not asked")
    tried = shown([*asked, *folders])
    if kind == "images":
        advice = f"make a source reachable ({tried}), and check the digest"
        return fail(name, f"no source has the image {missing[0]}: none answers", advice)
    return fail(name, f"no source of {name} answers ({tried})", "mend network or source: nothing else can bring them")


def _short(name: str) -> str:
    """An image without the digits that nobody reads."""
    head, at, digest = name.partition("@sha256:")
    return f"{head}{at}{digest[:12]}" if at else name[:12] if len(name) == 40 else name
