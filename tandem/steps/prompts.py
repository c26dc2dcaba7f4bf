from pyinfra.api import deploy

from tandem.domain.secrets import ROOT
from tandem.domain.slots import WEBUI_PORT
from tandem.operations import prompts
from tandem.render.webui import LIBRARY, data_directory
from tandem.steps.run import Run


@deploy("Prompts")
def offer(run: Run) -> None:
    """The library of prompts, in the WebUI that serves."""
    config = run.config.webui
    slot = run.state.webui.slot if run.state.webui else run.slot
    prompts.offer(
        name="Prompt library",
        wanted={prompt.command: prompt.digest for prompt in config.library},
        library=LIBRARY,
        access={
            "webui": f"http://127.0.0.1:{WEBUI_PORT[slot]}",
            "email": config.admin_email,
            "password": f"{ROOT}/webui_admin_password",
            "database": f"{data_directory(slot)}/webui.db",
            "record": "/var/lib/tandem/prompts.json",
        },
    )
