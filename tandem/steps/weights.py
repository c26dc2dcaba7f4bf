from pyinfra.api import deploy

from tandem.operations import weights
from tandem.steps.run import Run


@deploy("Weights")
def publish(run: Run) -> None:
    """The wanted release's model files, verified; models that nothing uses go first, so that there is room."""
    config, manifest = run.config.weights, run.config.wanted.model.manifest
    releases = run.config.releases
    weights.remove_unused(
        name="Unused models",
        directory=config.directory,
        declared=sorted({release.model.revision for release in releases.values()} | _way_back(run)),
        undeclared=sorted({slot.release for slot in run.state.slots.values()} - releases.keys()),
        consent=config.remove_unused,
    )
    weights.publish(
        name="Model files",
        directory=config.directory,
        models={manifest.revision: manifest.model_dump(include={"repository", "files"})},
        sources=[source.model_dump() for source in config.sources],
        parallel_downloads=config.parallel_downloads,
        stall_timeout_seconds=config.stall_timeout_seconds,
        mounted=run.config.storage is not None,
    )


def _way_back(run: Run) -> set[str]:
    """What the release before needs, which an upgrade brings back without a download."""
    return {run.state.past.revision} if run.state.past and run.state.past.revision else set()
