"""The configuration of a host that has a bundle: the bundle takes the place of every source."""

from tandem.config.root import Config
from tandem.config.runtime import OciLayout
from tandem.config.weights import FolderSource


def offline(config: Config) -> Config:
    """``config`` as it is without a bundle; else the same with no source on a network left in it."""
    if config.bundle is None:
        return config
    images = OciLayout(kind="oci-layout", path=f"{config.bundle.path}/images")
    folder = FolderSource(kind="folder", path=f"{config.bundle.path}/weights")
    return config.model_copy(
        update={
            "runtime": config.runtime.model_copy(update={"image_sources": (images,)}),
            "weights": config.weights.model_copy(update={"sources": (folder,)}),
            # Its packages are in the bundle's own repository.
            "gpu": config.gpu.model_copy(update={"repositories": ()}),
        }
    )
