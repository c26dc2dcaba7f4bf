"""What goes wrong outside of rollouts and people should know: told when it begins, and once a day while it lasts."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tandem.hostside import backup_record, certificates, notify, renewal, units
from tandem.hostside.files import write_atomic
from tandem.hostside.paths import Paths
from tandem.hostside.secret_files import Store

LOOK_SECONDS: Final = 60.0
CERTIFICATE_SECONDS: Final = 3600.0
AGAIN_SECONDS: Final = 24 * 3600.0
BACKUP: Final = "tandem-backup"
RENEWAL: Final = "tandem-certificate"


class Reminder:
    """Looks at most once a minute. What it told is kept until the next boot, so that a new guard does not repeat it."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._looked = self._asked = -CERTIFICATE_SECONDS
        self._certificate = ""
        self._told = self._kept()

    def look(self) -> None:
        """Tell what is new. Raises nothing."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        wrong = dict(self._wrong(now))
        told = {sentence: at for sentence, at in self._told.items() if sentence in wrong}
        for sentence, event in wrong.items():
            if now - told.get(sentence, -AGAIN_SECONDS) >= AGAIN_SECONDS:
                told[sentence] = now
                notify.tell(event, sentence, self._paths)
        if told != self._told:
            self._told = told
            self._keep()

    def _wrong(self, now: float) -> Iterator[tuple[str, str]]:
        """(sentence, event) of everything that is wrong now."""
        try:
            for line in self._paths.driver_mismatch.read_text(encoding="utf-8").splitlines():
                yield line, "drift"
        except (OSError, UnicodeDecodeError):
            pass
        shown = units.show([BACKUP, RENEWAL])
        if BACKUP in shown and shown[BACKUP].active == "failed":
            yield f"the last backup failed: `journalctl -u {BACKUP}` says why", "failed-backup"
        if RENEWAL in shown and shown[RENEWAL].active == "failed":
            yield f"the certificate was not renewed: `journalctl -u {RENEWAL}` says why", "expiring-certificate"
        backups = backup_record.look(self._paths)
        for sentence in backups["warnings"] if backups["configured"] else ():
            yield sentence, "failed-backup"
        if now - self._asked >= CERTIFICATE_SECONDS:
            self._asked, self._certificate = now, self._ending()
        if self._certificate:
            yield self._certificate, "expiring-certificate"

    def _ending(self) -> str:
        """How a certificate stands that ends soon; "" for one that lasts. Some authorities give days only."""
        try:
            pair = certificates.current(Store(self._paths.secrets))
        except OSError:
            return ""
        if pair is None or pair.leaf.days_left >= min(renewal.WARN_DAYS, pair.leaf.lifetime_days / 4):
            return ""
        return renewal.standing(pair)

    @property
    def _file(self) -> Path:
        return self._paths.root / "run/tandem/told.json"

    def _kept(self) -> dict[str, float]:
        """Sentence -> boot-time seconds at which it was told."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return {str(sentence): float(at) for sentence, at in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _keep(self) -> None:
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomic(self._file, json.dumps(self._told), "0600", os.geteuid(), os.getegid())
