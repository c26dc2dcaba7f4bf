"""Open WebUI with its front door and its backups, without an engine: people, chats and keys are all that matters."""

from tandem.domain.rollout import Slot
from tandem.domain.slots import WEBUI_PORT, engine_port, webui_unit
from tandem.operations import ctl, tree, units
from tandem.render import front_units, render_host, slot_units
from tandem.render.backup import backup_units
from tandem.render.release import release_digest
from tandem.steps import host, runtime, secrets, storage
from tandem.steps.run import begin

run = begin("backup-site")
config, slot = run.config, run.slot
host.prepare(run)
storage.mount(run)
runtime.images(run)
secrets.ensure(run)
files = render_host(run.name, config, slot, engines=False)
tree.apply(name="All files", tree=files, prune=())
units.converge(name="WebUI", wanted=slot_units(config, slot, engines=False))
ctl.ready(
    name="WebUI answers",
    targets=["--webui", f"{webui_unit(slot)}=http://127.0.0.1:{WEBUI_PORT[slot]}"],
    timeout_seconds=2 * config.webui.ready_timeout_seconds,
)
ports = tuple(engine_port(slot, card) for card in config.engine.cards)
ctl.adopt(
    name="What serves",
    slot=slot,
    wanted=Slot(config.release, release_digest(config), ports, 100),
    webui_port=WEBUI_PORT[slot],
)
units.converge(name="Front door and timers", wanted=[*front_units(config), *backup_units(config)])
