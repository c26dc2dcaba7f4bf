"""Where the host-side program finds and keeps things. Tests give another root."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tandem.domain.slots import STATUS_PORT


@dataclass(frozen=True)
class Paths:
    """Every path is below ``root``, which is / on a host. ``status_ports``: where each Nginx unit says what it uses."""

    root: Path = Path("/")
    status_ports: Mapping[str, int] = field(default_factory=lambda: STATUS_PORT)

    @property
    def secrets(self) -> Path:
        return self.root / "etc/tandem/secrets"

    @property
    def containers(self) -> Path:
        """The folder of the container units."""
        return self.root / "etc/containers/systemd"

    @property
    def upstream_key(self) -> Path:
        return self.secrets / "upstream_key"

    @property
    def certificate(self) -> Path:
        """What the edge's certificate is wanted to be, as install rendered it; no secret."""
        return self.root / "etc/tandem/certificate.json"

    @property
    def acme(self) -> Path:
        """The folder of the ACME client."""
        return self.root / "var/lib/tandem/acme"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/tandem/state.json"

    @property
    def history(self) -> Path:
        return self.root / "var/lib/tandem/history.jsonl"

    @property
    def split(self) -> Path:
        """The folder of the traffic split that the routers include."""
        return self.root / "var/lib/tandem/split"

    @property
    def parked(self) -> Path:
        """One empty file for each engine that must not start; its unit has it as a condition."""
        return self.root / "var/lib/tandem/parked"

    @property
    def starts(self) -> Path:
        """How long each engine took from its start to its first completion, when that was last measured."""
        return self.root / "var/lib/tandem/starts.json"

    @property
    def rollouts(self) -> Path:
        """One folder for each rollout, with its verdicts; the prober's samples are in ``prober``."""
        return self.root / "var/lib/tandem/rollouts"

    @property
    def prober(self) -> Path:
        return self.root / "var/lib/tandem/prober"

    @property
    def reserve(self) -> Path:
        return self.root / "var/lib/tandem/reserve"

    @property
    def guard_settings(self) -> Path:
        return self.root / "etc/tandem/guard.json"

    @property
    def guard_sight(self) -> Path:
        """What the guard sees now, for readers; gone with a boot."""
        return self.root / "run/tandem/guard.json"

    @property
    def driver_mismatch(self) -> Path:
        """What the driver check found amiss; absent while all agrees."""
        return self.root / "run/tandem/driver-mismatch"

    @property
    def lock(self) -> Path:
        return self.root / "run/lock/tandem.lock"
