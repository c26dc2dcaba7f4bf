from dataclasses import replace

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from tandem.bundling.wanted import gpu_packages
from tandem.config import Config
from tandem.config.offline import offline
from tandem.domain.bundle import Asked, refusals
from tandem.facts.bundle import BundleState
from tandem.operations import bundle
from tandem.steps.host import packages
from tandem.steps.run import Run


def check(run: Run) -> Run:
    """The run that takes everything from the bundle; ``run`` itself where none is configured.

    Raises DeployError when the bundle can't serve this host; nothing has been changed then. What it holds is hashed as
    the first operation of the run.
    """
    declared = run.config.bundle
    if declared is None:
        return run
    seen = host.get_fact(BundleState, question={"path": declared.path, "key": declared.key})
    reasons = refusals(_asked(declared.path, run.config), seen)
    if reasons:
        headline = f"{run.name} can't be installed from its bundle; nothing was changed on it:"
        raise DeployError("\n  ".join([headline, *reasons]))
    bundle.verify(name="Offline bundle", path=declared.path, key=declared.key)
    return replace(run, config=offline(run.config))


def _asked(path: str, config: Config) -> Asked:
    wanted = config.wanted
    gpu, _ = gpu_packages(config)
    return Asked(
        path=path,
        release=config.release,
        packages=[*packages(config), *gpu],
        images=[wanted.image, config.webui.image],
        models={wanted.model.revision: wanted.model.files},
    )
