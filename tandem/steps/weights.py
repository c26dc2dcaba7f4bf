from pyinfra.api import deploy

from tandem.operations import weights
from tandem.steps.run import Run


@deploy("Weights")
def publish(run: Run) -> None:
    """The wanted release's model files, verified."""
    model, config = run.config.wanted.model, run.config.weights
    weights.publish(
        name="Model files",
        directory=config.directory,
        models={model.revision: model.files},
        sources=[source.path for source in config.sources],
    )
