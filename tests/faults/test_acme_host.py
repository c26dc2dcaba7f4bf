"""A rehearsal host gets its certificate by ACME: Debian 13's dehydrated and pebble, the real edge, the timer's unit."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.conftest import SPARE
from tests.faults.deploying import Ended, Workplace
from tests.faults.onhost import OnHost

NAME = "chat.rehearsal.example"
FOLDER = "/root/pebble"
PROCESSES = "systemctl show --property=MainPID --value tandem-edge; pgrep -P $(cat /run/tandem-edge/nginx.pid)"
ISSUED = "/var/lib/tandem/acme/issued.json"
SETTINGS = {
    "listenAddress": "127.0.0.1:14000",
    "managementListenAddress": "127.0.0.1:15000",
    "certificate": f"{FOLDER}/leaf.crt",
    "privateKey": f"{FOLDER}/leaf.key",
    "httpPort": 80,
    "tlsPort": 443,
    "certificateValidityPeriod": 90 * 86400,
}


@dataclass(frozen=True)
class Served:
    """What a client of the edge sees: the certificate's number and issuer."""

    number: str
    issuer: str


@pytest.fixture(scope="module")
def authority(packaged: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pebble on the spare host, which asks anew for each order; yields the file that its HTTPS is trusted by."""
    there = OnHost(packaged)
    there.shell(
        f"""
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq install -y --no-install-recommends pebble >/dev/null 2>&1
        mkdir -p {FOLDER}
        cd {FOLDER}
        openssl req -x509 -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.crt -days 9 -subj /CN=pebble \\
            -addext subjectAltName=IP:127.0.0.1 2>/dev/null
        cat >pebble.json <<'END'
        {json.dumps({"pebble": SETTINGS})}
END
        systemd-run --quiet --collect --unit=pebble-names pebble-challtestsrv -dns01 127.0.0.1:8053 \\
            -management 127.0.0.1:8055 -defaultIPv6 '' -http01 '' -https01 '' -tlsalpn01 ''
        systemd-run --quiet --collect --unit=pebble --setenv=PEBBLE_VA_NOSLEEP=1 --setenv=PEBBLE_AUTHZREUSE=0 \\
            pebble -config {FOLDER}/pebble.json -dnsserver 127.0.0.1:8053
        """
    )
    trusted = tmp_path_factory.mktemp("authority") / "pebble.crt"
    trusted.write_text(there.shell(f"cat {FOLDER}/leaf.crt"))
    yield trusted
    there.shell("systemctl stop pebble pebble-names 'tandem-*.service' || true")


def install(workplace: Workplace, trusted: Path) -> Ended:
    acme = {"kind": "acme", "email": "admin@rehearsal.example", "directory": "https://127.0.0.1:14000/dir"}
    edge = {"server_name": NAME, "certificate": {**acme, "authority": str(trusted)}}
    return workplace.run(workplace.inventory(SPARE, {"edge": edge}), "tests/faults/deploys/certificate.py")


def served() -> Served:
    shown = OnHost(SPARE).shell(
        f"openssl s_client -connect 127.0.0.1:443 -servername {NAME} </dev/null 2>/dev/null "
        "| openssl x509 -noout -serial -issuer"
    )
    number, issuer = shown.strip().splitlines()
    return Served(number, issuer)


def test_a_host_gets_its_certificate_and_its_timer_renews_it_without_touching_the_edge(
    workplace: Workplace, authority: Path
) -> None:
    there = OnHost(SPARE)
    first = install(workplace, authority)
    assert first.status == 0, first.output
    assert "got a certificate from https://127.0.0.1:14000/dir" in first.notes
    before = served()
    assert "Pebble" in before.issuer
    second = install(workplace, authority)
    assert (second.status, second.changed) == (0, []), second.output
    assert served() == before

    running = there.shell(PROCESSES)
    # As if it had never come: the timer's service orders once more, confined as it is.
    there.shell(f"rm {ISSUED}; systemctl start tandem-certificate.service")
    after = served()
    assert (after.number != before.number, "Pebble" in after.issuer) == (True, True)
    assert there.shell(PROCESSES) == running
    said = there.shell("journalctl -u tandem-certificate.service -o cat --no-pager")
    assert f"renewed: the certificate for {NAME} is valid until " in said
    assert "PRIVATE" not in said
    assert there.shell("systemctl is-enabled tandem-certificate.timer").strip() == "enabled"


def test_a_renewal_that_fails_leaves_the_certificate_and_fails_the_unit_with_the_reason(
    workplace: Workplace, authority: Path
) -> None:
    there, before = OnHost(SPARE), served()
    try:
        there.shell(f"systemctl stop pebble-names; rm {ISSUED}")
        assert there.shell("systemctl start tandem-certificate.service && echo done || echo failed").strip() == "failed"
        said = there.shell("journalctl -u tandem-certificate.service -o cat --no-pager -n 20")
        assert "no certificate from https://127.0.0.1:14000/dir: " in said
        assert "The one in use stays, valid until " in said
        assert served() == before
    finally:
        there.shell("systemctl reset-failed tandem-certificate.service || true")
