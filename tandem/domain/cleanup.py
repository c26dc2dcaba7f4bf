"""What may go from a host: images, models, unit files, reports and leftovers that no kept release uses. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tandem.domain.refused import Refused
from tandem.domain.rollout import Past, Slot, State

FREELY: Final = ("image", "unit", "rollout", "leftover")
"""Kinds that go whenever somebody cleans up: what is in them can be had again, or was a report that nobody kept."""
CONSENT: Final = ("model", "webui")
"""Kinds that go only when they are named: a long download, and people's chats."""
ROLLOUTS_KEPT: Final = 10
LEFTOVER_SECONDS: Final = 24 * 3600.0
"""A file in the folder for temporary files of images is in use for less than this."""

_REVISION: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Image:
    """An image of Podman's store. ``used``: a container is made from it; ``fixed``: it is in a read-only store."""

    id: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    bytes: int
    used: bool = False
    fixed: bool = False


@dataclass(frozen=True)
class UnitFile:
    """The unit file of an engine in ``slot``, or of a WebUI (``revision`` is "" then). ``runs``: it is not stopped."""

    path: str
    slot: str
    image: str
    revision: str
    bytes: int
    runs: bool


@dataclass(frozen=True)
class Found:
    """What a host has. ``mounted``: revisions that a running process has open; the others are bytes by name: ``models``
    by folder, ``webui`` by slot, ``rollouts`` by id, ``leftovers`` by path.
    """

    images: tuple[Image, ...] = ()
    units: tuple[UnitFile, ...] = ()
    models: Mapping[str, int] = field(default_factory=dict)
    mounted: frozenset[str] = frozenset()
    webui: Mapping[str, int] = field(default_factory=dict)
    rollouts: Mapping[str, int] = field(default_factory=dict)
    leftovers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Keep:
    """What stays. ``repositories``: image names that Tandem brought; others are somebody else's. ``unknown``: releases
    of which it is not on record what they need: then no image and no model goes.
    """

    images: frozenset[str]
    revisions: frozenset[str]
    repositories: frozenset[str]
    slots: frozenset[str]
    webui_slot: str
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """``name``: what identifies it, a path except for images (id), models (folder), webui (slot) and rollouts (id)."""

    kind: str
    name: str
    bytes: int
    why: str


def kept(
    state: State, images: Collection[str], revisions: Collection[str], brought: Iterable[str] = (), webui: str = ""
) -> Keep:
    """What the record and the declared releases keep: what serves, both sides of a rollout, and the way back.

    ``images``, ``revisions``: of the declared releases; ``webui``: the declared image of the WebUI; ``brought``: images
    that the host's history names. Raises Refused before the first install and during a rollout.
    """
    if state.webui is None:
        raise Refused("nothing serves yet. Nothing was removed. Run install first.")
    if state.rollout is not None:
        raise Refused(
            f"a rollout is under way (state {state.phase}). Nothing was removed. Let it end or roll it back, then "
            "clean up."
        )
    recorded: list[Slot | Past] = [*state.slots.values(), *([state.past] if state.past else [])]
    references = {*images, *(one.image for one in recorded), webui} - {""}
    return Keep(
        images=frozenset(map(digest_of, references)),
        revisions=frozenset({*revisions, *(one.revision for one in recorded)} - {""}),
        repositories=frozenset(map(repository_of, {*references, *brought} - {""})),
        slots=frozenset(state.slots),
        webui_slot=state.webui.slot,
        unknown=tuple(sorted({one.release for one in recorded if not one.image or not one.revision})),
    )


def plan(found: Found, keep: Keep) -> list[Item]:
    """All that may go, in the order in which it is removed. What a running process or a unit that stays uses, stays."""
    staying = [unit for unit in found.units if _stays(unit, keep)]
    going = [unit for unit in found.units if unit not in staying]
    items = [Item("unit", unit.path, unit.bytes, f"slot {unit.slot} holds no release that is kept") for unit in going]
    if not keep.unknown:
        digests = keep.images | {digest_of(unit.image) for unit in staying}
        revisions = keep.revisions | found.mounted | {unit.revision for unit in staying if unit.revision}
        repositories = keep.repositories | {repository_of(unit.image) for unit in found.units}
        items += [
            Item("image", image.id, image.bytes, "no kept release runs it")
            for image in found.images
            if not (image.used or image.fixed or digests & {*image.digests})
            and image.names
            and {repository_of(name) for name in image.names} <= repositories
        ]
        items += [
            Item("model", folder, count, "no kept release serves it")
            for folder, count in sorted(found.models.items())
            if not revisions & {*_REVISION.findall(folder)}
        ]
    old = sorted(found.rollouts)[:-ROLLOUTS_KEPT]
    items += [Item("rollout", id, found.rollouts[id], f"{ROLLOUTS_KEPT} newer ones are kept") for id in old]
    items += [Item("leftover", path, count, "a transfer left it") for path, count in sorted(found.leftovers.items())]
    items += [
        Item("webui", slot, count, f"Open WebUI answers from slot {keep.webui_slot}")
        for slot, count in sorted(found.webui.items())
        if slot != keep.webui_slot
    ]
    return items


def allowed(items: Iterable[Item], consent: Collection[str]) -> list[Item]:
    """Those that go without being named, and those of the kinds in ``consent``."""
    return [item for item in items if item.kind in FREELY or item.kind in consent]


def digest_of(reference: str) -> str:
    """``sha256:...`` of NAME@sha256:..., "" without one."""
    return reference.partition("@")[2]


def repository_of(reference: str) -> str:
    """NAME of NAME@DIGEST or NAME:TAG; a registry's port stays."""
    name = reference.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"


def _stays(unit: UnitFile, keep: Keep) -> bool:
    if unit.runs or not unit.revision or unit.slot in keep.slots or keep.unknown:
        return True
    return digest_of(unit.image) in keep.images and unit.revision in keep.revisions
