from pyinfra.api import deploy

from tandem.operations import runtime
from tandem.steps.run import Run


@deploy("Runtime")
def images(run: Run) -> None:
    """The engine's and the WebUI's images in Podman's store, by digest."""
    runtime.images(
        name="Container images",
        wanted=[run.config.wanted.image, run.config.webui.image],
        store=run.config.runtime.image_store,
        sources=[source.model_dump() for source in run.config.runtime.image_sources],
    )
