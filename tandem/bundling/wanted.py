"""What a bundle must hold for one host, as its configuration says. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tandem.bundling.errors import BundleError
from tandem.config import Config
from tandem.config.gpu import Repository
from tandem.config.placeholders import placeholders
from tandem.domain.bundle import SYSTEM
from tandem.domain.gpu_packages import DRIVER_GLOBS, PREREQUISITES, TOOLKIT, packages_of
from tandem.steps.host import packages

KERNEL = ("linux-image-amd64", "linux-headers-amd64")
BASE = ("?priority(required)", "?priority(important)", "?priority(standard)")
"""What a bare server has already: apt must be able to bring it along to the version that a new package asks for."""


@dataclass(frozen=True)
class Wanted:
    """``models`` is {revision: manifest}, ``releases`` the names of the releases that it is for.

    ``optional`` are packages that not every repository has; ``preferences`` keep apt in the driver's branch.
    """

    packages: tuple[str, ...]
    optional: tuple[str, ...]
    preferences: str
    repositories: tuple[Repository, ...]
    images: tuple[str, ...]
    models: Mapping[str, Any]
    releases: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def inputs(self) -> str:
        """SHA-256 of everything that decides what goes in, but for the versions that the mirrors have today."""
        seen = [
            self.packages,
            self.optional,
            self.preferences,
            [(one.name, one.suite, one.components, one.key) for one in self.repositories],
            self.images,
            dict(self.models),
            self.releases,
        ]
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def wanted(config: Config, releases: Sequence[str], further: Sequence[str] = ()) -> Wanted:
    """For these releases, with ``further`` packages.

    Raises BundleError when a release is not declared or is still the example's.
    """
    unknown = sorted(set(releases) - config.releases.keys())
    if unknown:
        raise BundleError(
            f"--release {unknown[0]}: it is not declared; give one of: {', '.join(sorted(config.releases))}. "
            "Nothing was written"
        )
    zeros = [line for name in releases for line in placeholders(config.model_copy(update={"release": name}))]
    zeros = [line for line in dict.fromkeys(zeros) if line.startswith(("releases/", "webui/image", "gpu/"))]
    if zeros:
        raise BundleError("\n  ".join(["nothing was written:", *zeros]))
    chosen = [config.releases[name] for name in releases]
    names, optional = gpu_packages(config)
    return Wanted(
        packages=tuple(dict.fromkeys([*packages(config), *KERNEL, *names, *further])),
        optional=optional,
        preferences=_preferences(config),
        repositories=config.gpu.repositories,
        images=tuple(dict.fromkeys([*(one.image for one in chosen), config.webui.image])),
        models={one.model.revision: one.model.manifest.model_dump() for one in chosen},
        releases=tuple(releases),
        left_out=_left_out(config, releases),
    )


def gpu_packages(config: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The packages of driver, toolkit and CUDA, and those that a repository need not have."""
    gpu = config.gpu
    names = [TOOLKIT] if gpu.container_toolkit else []
    os_id, version = SYSTEM.split()
    row = packages_of((os_id, version), gpu.driver_source, gpu.driver_branch)
    if row is None:
        return tuple(names), ()
    names += [*PREREQUISITES, row.module, *row.libraries, *row.beside, *([row.cuda] if gpu.cuda_toolkit else [])]
    return tuple(names), (row.pinning,) if row.pinning else ()


def _preferences(config: Config) -> str:
    """A repository holds many branches: only this one's packages may be chosen."""
    gpu = config.gpu
    if gpu.driver_source != "nvidia":
        return ""
    versions = [f"{gpu.driver_version}-*", f"*:{gpu.driver_version}-*"] if gpu.driver_version else []
    versions = versions or [f"{gpu.driver_branch}.*", f"*:{gpu.driver_branch}.*"]
    names = " ".join(DRIVER_GLOBS)
    return "\n".join(f"Package: {names}\nPin: version {version}\nPin-Priority: 1001\n" for version in versions)


def at(one: Wanted, addresses: Mapping[str, str]) -> Wanted:
    """With other addresses for some repositories: {name: url}, as they are seen from this machine."""
    unknown = sorted(addresses.keys() - {repository.name for repository in one.repositories})
    if unknown:
        raise BundleError(f"--repository {unknown[0]}: gpu/repositories has no repository of that name")
    moved = [
        repository.model_copy(update={"url": addresses.get(repository.name, repository.url)})
        for repository in one.repositories
    ]
    return replace(one, repositories=tuple(moved))


def _left_out(config: Config, releases: Sequence[str]) -> tuple[str, ...]:
    others = sorted(config.releases.keys() - set(releases))
    return (
        *(f"release {name}: not asked for (--release, --all-releases)" for name in others),
        *(() if config.gpu.cuda_toolkit else ("the CUDA toolkit: gpu/cuda_toolkit is False",)),
        "packages that others only recommend or suggest, and sources of packages",
        "secrets: they are given or made at install",
    )
