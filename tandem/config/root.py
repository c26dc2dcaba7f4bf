from pydantic import Field, ValidationInfo, field_validator

from tandem.config.backup import BackupConfig
from tandem.config.base import Model, Name
from tandem.config.bundle import BundleConfig
from tandem.config.doctor import DoctorConfig
from tandem.config.edge import EdgeConfig
from tandem.config.engine import EngineConfig
from tandem.config.firewall import FirewallConfig
from tandem.config.gpu import GpuConfig
from tandem.config.host import HostConfig
from tandem.config.logs import LogsConfig
from tandem.config.notify import NotifyConfig
from tandem.config.release import Release
from tandem.config.router import RouterConfig
from tandem.config.runtime import RuntimeConfig
from tandem.config.secrets import SecretsConfig
from tandem.config.storage import StorageConfig
from tandem.config.upgrade import UpgradeConfig
from tandem.config.webui import WebuiConfig
from tandem.config.weights import WeightsConfig


class Config(Model):
    """All that an operator declares about one host."""

    host: HostConfig = Field(default=HostConfig(), description="What the machine must have.")
    doctor: DoctorConfig = Field(default=DoctorConfig(), description="Thresholds of the checks.")
    gpu: GpuConfig = Field(description="Driver, CUDA and how containers reach the cards.")
    bundle: BundleConfig | None = Field(
        default=None, description="Install from this folder and ask no network; leave out to use the sources."
    )
    secrets: SecretsConfig = Field(
        default=SecretsConfig(), description="Secrets that you choose; those not named are generated."
    )
    storage: StorageConfig | None = Field(default=None, description="The weights disk; leave out to keep weights on /.")
    runtime: RuntimeConfig = Field(default=RuntimeConfig(), description="Podman and its images.")
    weights: WeightsConfig = Field(description="Where model files are kept and where they come from.")
    engine: EngineConfig = Field(default=EngineConfig(), description="How the engines are run.")
    webui: WebuiConfig = Field(description="Open WebUI.")
    router: RouterConfig = Field(default=RouterConfig(), description="The loopback-only split between slots.")
    edge: EdgeConfig = Field(description="The public front door.")
    firewall: FirewallConfig = Field(default=FirewallConfig(), description="What may come in.")
    backup: BackupConfig | None = Field(
        default=None, description="What people left here, saved every day; leave out to have no backups."
    )
    logs: LogsConfig = Field(default=LogsConfig(), description="How long logs are kept.")
    upgrade: UpgradeConfig = Field(default=UpgradeConfig(), description="How a new release takes over.")
    notify: NotifyConfig | None = Field(default=None, description="Who is told what people should know; None: nobody.")
    releases: dict[Name, Release] = Field(min_length=1, description="Every release by name.")
    release: Name = Field(description="The wanted release: one of the names in releases.")

    @field_validator("releases")
    @classmethod
    def _one_model_name(cls, releases: dict[str, Release]) -> dict[str, Release]:
        names = {name: release.model.name for name, release in releases.items()}
        if len(set(names.values())) > 1:
            given = ", ".join(f"{model!r} in {name}" for name, model in sorted(names.items()))
            raise ValueError(f"model/name differs ({given}); clients ask for it, so give one name in every release")
        return releases

    @field_validator("release")
    @classmethod
    def _is_declared(cls, release: str, info: ValidationInfo) -> str:
        # A broken release is reported by itself; its name still counts as declared (``load`` passes the names).
        declared = info.data.get("releases") or info.context or ()
        if declared and release not in declared:
            raise ValueError(f"{release!r} is not declared in releases; give one of: {', '.join(sorted(declared))}")
        return release

    @field_validator("edge")
    @classmethod
    def _given_secrets_have_owners(cls, edge: EdgeConfig, info: ValidationInfo) -> EdgeConfig:
        secrets = info.data.get("secrets") or SecretsConfig()
        for kind, given, known in (("users", secrets.passwords, edge.users), ("clients", secrets.keys, edge.clients)):
            unknown = sorted(given.keys() - set(known))
            if unknown:
                raise ValueError(
                    f"{unknown[0]!r} has a given secret and is not among {kind}; name it there or take it out"
                )
        return edge

    @property
    def wanted(self) -> Release:
        """The release that ``release`` names."""
        return self.releases[self.release]
