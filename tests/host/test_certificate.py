"""The certificate is in order, and something looks after it."""

import json
import stat

from testinfra.host import Host  # type: ignore[import-untyped]

from tandem.domain.slots import UIDS

TLS = "/etc/tandem/secrets/edge/tls.pem"


def test_nothing_is_due_and_the_timer_will_see_when_it_is(root: Host) -> None:
    seen = json.loads(root.check_output("tandemctl certificate renew --dry --json"))
    assert seen["due"] is False, seen["sentence"]
    timer = root.service("tandem-certificate.timer")
    assert (timer.is_enabled, timer.is_running) == (True, True)
    assert root.check_output("systemctl show --property=Result --value tandem-certificate.service") == "success"


def test_the_private_key_is_for_root_and_the_edge(root: Host) -> None:
    file = root.file(TLS)
    assert (file.uid, file.gid, stat.S_IMODE(file.mode)) == (0, UIDS["tandem-edge"], 0o640)
    assert root.run(f"runuser -u tandem-router -- cat {TLS}").rc != 0
