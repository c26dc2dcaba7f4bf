"""What goes wrong outside of rollouts and people should know: told when it begins, and once a day while it lasts."""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tandem.domain import backup
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
        lasting = {_lasting(sentence) for sentence in wrong}
        told = {what: at for what, at in self._told.items() if what in lasting}
        for sentence, event in wrong.items():
            if now - told.get(_lasting(sentence), -AGAIN_SECONDS) >= AGAIN_SECONDS:
                told[_lasting(sentence)] = now
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
        configured, warnings = backup_record.standing(self._paths)
        told = any(sentence.startswith(backup.FAILED) for sentence in warnings)
        if BACKUP in shown and shown[BACKUP].active == "failed" and not told:
            yield f"the last backup failed: `journalctl -u {BACKUP}` says why", "failed-backup"
        if RENEWAL in shown and shown[RENEWAL].active == "failed":
            yield f"the certificate was not renewed: `journalctl -u {RENEWAL}` says why", "expiring-certificate"
        for sentence in warnings if configured else ():
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
        """What lasts -> boot-time seconds at which it was told."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return {str(sentence): float(at) for sentence, at in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _keep(self) -> None:
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomic(self._file, json.dumps(self._told), "0600", os.geteuid(), os.getegid())


def _lasting(sentence: str) -> str:
    """The sentence without its figures: an age that grows, or days that are left, is nothing new."""
    return re.sub(r"\d+", "#", sentence)
