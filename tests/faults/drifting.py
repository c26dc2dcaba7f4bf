"""Everything that Tandem manages on a host, and one change by hand for each: derived from what is rendered."""

import random
import re
import runpy
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tandem.config import Config, load
from tandem.domain.slots import STATUS_PORT, engine_unit, webui_unit
from tandem.rehearsal.inventory import STATE, hosts
from tandem.render import render_host
from tandem.render.host import SETTINGS
from tandem.render.tree import Directory, Entry, File, Generated, Group, Link
from tests.faults.deploying import ROOT, Workplace
from tests.faults.fingerprint import Fingerprint, differences, fingerprint
from tests.faults.onhost import OnHost

SLOT = "blue"
NOBODY = 65534


@dataclass(frozen=True)
class Drift:
    """One change by hand. ``script`` makes it; ``said`` is the one sentence (pattern) of the run that repairs it.

    ``also``: sentences that may come with it. ``starts``: units that the repair starts.
    """

    kind: str
    what: str
    script: str
    said: str
    also: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def layers(name: str) -> dict[str, Any]:
    """The data of a rehearsal host, as pyinfra puts it together for it."""
    groups = [runpy.run_path(str(ROOT / f"group_data/{group}.py")) for group in ("all", "rehearsal")]
    data: dict[str, Any] = {}
    for layer in (*groups, dict(hosts(STATE))[name]):
        data |= {key: value for key, value in layer.items() if not key.startswith("__")}
    return data


def drifts(name: str) -> list[Drift]:
    """One change by hand for each managed thing and each way in which it can be changed."""
    settings = load(layers(name), name)
    tree = render_host(name, settings, SLOT)
    found = [drift for path, entry in sorted(tree.entries.items()) for drift in _of_entry(path, entry)]
    for group in tree.groups:
        found += _of_group(group)
    found += [_setting(key, value) for key, value in SETTINGS.items()]
    found += [_split(part) for part in ("engine.conf", "webui.conf")]
    return [*found, *_of_model(settings), *_of_units(settings)]


FAMILIES = {
    "file": ("changed file", "removed file"),
    "rights": ("mode of a file", "owner of a file", "mode of a folder"),
    "secret": ("mode of a secret", "owner of a secret"),
    "link": ("changed link", "removed link"),
    "group": ("changed group file", "removed group file", "mode of a group file", "extra group file"),
    "group link": ("changed group link",),
    "unit": ("stopped unit",),
    "other": ("kernel setting", "split file", "model file"),
}
"""Kinds of drift that a sample has one of. ``SLOW`` is in none: it waits for an engine or a WebUI to start."""

SLOW = "stopped engine or WebUI"


def sample(name: str, chance: random.Random) -> list[Drift]:
    """One drift of each family, by chance."""
    found = drifts(name)
    return [chance.choice([drift for drift in found if drift.kind in kinds]) for kinds in FAMILIES.values()]


def _of_entry(path: str, entry: Entry) -> Iterator[Drift]:
    quoted, exact = shlex.quote(path), re.escape(path)
    # systemd notices a unit file of another date and has to read it again.
    reread = ("made systemd read .* again",) if path.startswith(("/etc/systemd/", "/etc/containers/systemd/")) else ()
    if path.startswith("/etc/systemd/journald.conf.d/"):
        reread = ("restarted systemd-journald: .*",)
    if isinstance(entry, File):
        yield Drift("changed file", path, f"echo '# by hand' >>{quoted}", f"wrote {exact}", reread)
        yield Drift("removed file", path, f"rm {quoted}", f"made {exact}", reread)
        yield Drift("mode of a file", path, f"chmod 0606 {quoted}", f"set {exact} to .*")
        yield Drift("owner of a file", path, f"chown {NOBODY}:{NOBODY} {quoted}", f"set {exact} to .*")
    elif isinstance(entry, Directory):
        yield Drift("mode of a folder", path, f"chmod 0777 {quoted}", f"set {exact} to .*")
    elif isinstance(entry, Link):
        linked = f"linked {exact} to {re.escape(entry.target)}"
        # A unit of which only the link is gone is enabled by the link.
        yield Drift("changed link", path, f"ln -sfn /dev/zero {quoted}", linked, reread)
        yield Drift("removed link", path, f"rm {quoted}", linked, reread)
    elif isinstance(entry, Generated):
        inner = re.escape(path.removeprefix("/etc/tandem/secrets/"))
        yield Drift("mode of a secret", path, f"chmod 0666 {quoted}", f"made or changed the secrets {inner}")
        yield Drift("owner of a secret", path, f"chown {NOBODY} {quoted}", f"made or changed the secrets {inner}")


def _of_group(group: Group) -> Iterator[Drift]:
    base, root = re.escape(group.base), re.escape(group.root)
    for name in sorted(group.files):
        path = shlex.quote(f"{group.root}/{name}")
        inner = re.escape(name)
        yield Drift("changed group file", path, f"echo '# by hand' >>{path}", f"repaired {root}/{inner}")
        yield Drift("removed group file", path, f"rm {path}", f"repaired {root}/{inner}")
        yield Drift("mode of a group file", path, f"chmod 0666 {path}", f"repaired {root}/{inner}")
    yield Drift("extra group file", root, f"echo more >{shlex.quote(group.root)}/by-hand", f"removed {root}/by-hand")
    current = shlex.quote(group.current)
    said = f"made {base} current at {group.digest} \\(was other\\)"
    yield Drift("changed group link", current, f"cp -a {root} {base}/other; ln -sfn other {current}", said)


def _setting(key: str, value: str) -> Drift:
    other = "0" if value != "0" else "1"
    return Drift("kernel setting", key, f"sysctl -q {key}={other if other == '1' else '128'}", f"set {re.escape(key)}")


def _split(name: str) -> Drift:
    path = f"/var/lib/tandem/split/{name}"
    return Drift("split file", path, f"echo '# by hand' >>{path}", f"wrote the split {re.escape(name)}")


def _of_model(settings: Config) -> Iterator[Drift]:
    model = settings.wanted.model
    folder = f"{settings.weights.directory}/{model.revision}"
    # The rehearsal's sources hold the right one; a running engine has read its own copy long since.
    for name in sorted(model.files):
        said = f"repaired 1 files of model revision {model.revision[:12]}"
        yield Drift("model file", f"{folder}/{name}", f"echo ' ' >>{shlex.quote(f'{folder}/{name}')}", said)


def _of_units(settings: Config) -> Iterator[Drift]:
    slow = [webui_unit(SLOT), *(engine_unit(SLOT, card) for card in settings.engine.cards)]
    for unit in (*STATUS_PORT, *slow):
        kind = SLOW if unit in slow else "stopped unit"
        also = ("waited until .* answered",) if unit in slow else ()
        yield Drift(kind, unit, f"systemctl stop {unit}", f"started {unit}.service", also, (unit,))


def odd(drift: Drift, notes: Sequence[str]) -> list[str]:
    """What is wrong with the sentences of the run that should have repaired exactly this."""
    own = [note for note in notes if re.fullmatch(drift.said, note)]
    more = [note for note in notes if note not in own and not any(re.fullmatch(also, note) for also in drift.also)]
    missing = [] if len(own) == 1 else [f"said {len(own)} times: {drift.said}"]
    return [*missing, *(f"also: {note}" for note in more)]


def invocations(name: str) -> dict[str, str]:
    """Each service of Tandem with the id of its present run, which is another one after a restart.

    What timers start is left out: it comes and goes by itself.
    """
    shown = OnHost(name).shell(
        "systemctl show --property=Id,InvocationID,TriggeredBy "
        "'tandem-*.service' 'vllm-*.service' 'open-webui-*.service'"
    )
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n")]
    ours = [block for block in blocks if ".timer" not in block.get("TriggeredBy", "")]
    return {block["Id"].removesuffix(".service"): block["InvocationID"] for block in ours}


def repair(name: str, drift: Drift, workplace: Workplace, before: Fingerprint) -> list[str]:
    """Makes this change, runs install, and says everything that is not as it should be then."""
    ids = invocations(name)
    OnHost(name).shell(drift.script)
    ended = workplace.install(name)
    if ended.status:
        return [f"{drift}: exit status {ended.status}: {ended.output}"]
    after = invocations(name)
    restarted = [unit for unit in ids if ids[unit] != after.get(unit) and unit not in drift.starts]
    wrong = [*odd(drift, ended.notes), *(f"restarted {unit}" for unit in restarted)]
    return [f"{drift}: {line}" for line in [*wrong, *differences(before, fingerprint(name))]]
