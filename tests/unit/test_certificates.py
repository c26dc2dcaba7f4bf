"""The edge's certificate of each kind: real openssl, real files, and a real Nginx that reads them."""

import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import (
    BasicConstraints,
    CertificateBuilder,
    DNSName,
    IPAddress,
    Name,
    SubjectAlternativeName,
    load_pem_x509_certificate,
    random_serial_number,
)

from tandem.config import ConfigError, load
from tandem.config.edge import Files
from tandem.config.placeholders import placeholders
from tandem.domain.refused import Refused
from tandem.domain.slots import UIDS
from tandem.hostside import certificates, renewal, x509
from tandem.hostside.certificates import CertificateError, Pair, current, settle
from tandem.hostside.paths import Paths
from tandem.hostside.secret_files import Owners, Store
from tandem.hostside.tandemctl import main
from tandem.render.certificate import certificate_units, packages, render_certificate, wanted_record
from tandem.render.tree import Directory, File
from tests.unit.nginx_process import connect, example_config, free_ports, nginx, upstream
from tests.unit.test_config import GOOD

OWNERS = Owners(os.getuid(), os.getgid(), os.getgid(), os.getgid())
NAMES = ["ai.example", "10.0.0.5", "fd00::5"]
GENERATED = {"kind": "generated"}
FILES = {"kind": "files"}
ACME = {"kind": "acme", "email": "a@ai.example", "directory": "https://127.0.0.1:1/dir", "authority": ""}


def signed(key: str, by: tuple[str, str], names: Sequence[str], begun_days_ago: int = 1, days_left: int = 90) -> str:
    """A certificate for ``key`` with any dates, signed ``by`` (key, certificate): openssl's own command knows no past.

    Without names it is an authority of its own that ``by`` vouches for.
    """
    public = serialization.load_pem_private_key(key.encode(), None).public_key()
    issuer_key = serialization.load_pem_private_key(by[0].encode(), None)
    issuer = load_pem_x509_certificate(by[1].encode()).subject if by[1] else Name.from_rfc4514_string("CN=root")
    ours = Name.from_rfc4514_string(f"CN={names[0] if names else 'intermediate' if by[1] else 'root'}")
    now = datetime.now(UTC)
    builder = (
        CertificateBuilder(issuer, ours, public, random_serial_number())  # type: ignore[arg-type]
        .not_valid_before(now - timedelta(days=begun_days_ago))
        .not_valid_after(now + timedelta(days=days_left))
        .add_extension(BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        kinds = [IPAddress(ip_address(name)) if x509.address(name) else DNSName(name) for name in names]
        builder = builder.add_extension(SubjectAlternativeName(kinds), critical=False)
    made = builder.sign(issuer_key, hashes.SHA256())  # type: ignore[arg-type]
    return made.public_bytes(serialization.Encoding.PEM).decode()


class Operator:
    """An operator with a certificate from an authority that has an intermediate."""

    def __init__(self) -> None:
        self.key, self.root_key, self.intermediate_key = x509.new_key(), x509.new_key(), x509.new_key()
        self.root = signed(self.root_key, (self.root_key, ""), ())
        self.intermediate = signed(self.intermediate_key, (self.root_key, self.root), ())

    def leaf(self, names: Sequence[str] = NAMES, days_left: int = 90, key: str = "") -> str:
        return signed(key or self.key, (self.intermediate_key, self.intermediate), names, 100, days_left)

    def given(self, names: Sequence[str] = NAMES, days_left: int = 90) -> dict[str, str]:
        return {"certificate": self.leaf(names, days_left) + self.intermediate, "certificate_key": self.key}


@pytest.fixture(scope="module")
def operator() -> Operator:
    return Operator()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path / "host")
    found.acme.joinpath("challenges").mkdir(parents=True)
    Store(found.secrets, OWNERS).make_folders()
    return found


@pytest.fixture
def store(paths: Paths) -> Store:
    return Store(paths.secrets, OWNERS)


def put_in_order(paths: Paths, certificate: Mapping[str, Any], names: Sequence[str] = NAMES) -> None:
    paths.certificate.write_text(json.dumps({"names": list(names), "certificate": dict(certificate)}))


def settled(store: Store, wanted: Mapping[str, Any], given: Mapping[str, str] | None = None, **more: Any) -> list[str]:
    """What one call changes; a second one must change nothing."""
    names = more.pop("names", NAMES)
    again = Store(store.root, store.owners)
    one = Store(store.root, store.owners)
    settle(one, names, wanted, given or {}, **more)
    settle(again, names, wanted, given or {})
    assert again.changed == []
    return one.changed


def own_authority(store: Store) -> tuple[str, str]:
    return store.secret("tls/ca.key"), store.secret("tls/ca.crt")


def served(store: Store) -> Pair:
    pair = current(store)
    assert pair is not None
    return pair


def verify(pair: Pair, trusted: Path, *options: str) -> None:
    """As a client with only ``trusted`` does, by openssl itself."""
    chain = trusted.with_name("chain")
    chain.write_text("".join(pair.chain))
    command = ["openssl", "verify", "-purpose", "sslserver", "-CAfile", str(trusted), *options]
    subprocess.run([*command, "-untrusted", str(chain), str(chain)], check=True, capture_output=True)
    chain.unlink()


# generated


def test_a_generated_certificate_names_the_host_and_is_trusted_through_the_ca(store: Store) -> None:
    assert set(settled(store, GENERATED)) == {"tls/ca.key", "tls/ca.crt", "edge/tls.pem", "edge/ca.crt"}
    for check in (["-verify_ip", "10.0.0.5"], ["-verify_ip", "fd00::5"], ["-verify_hostname", "ai.example"]):
        verify(served(store), store.root / "edge/ca.crt", "-x509_strict", *check)
    assert served(store).leaf.lifetime_days <= 366
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(store.root / "edge/tls.pem")
    assert f"{(store.root / 'edge/tls.pem').stat().st_mode & 0o7777:04o}" == "0640"


def test_it_is_made_anew_for_other_names_or_near_its_end_with_the_same_key_and_ca(store: Store) -> None:
    settled(store, GENERATED)
    key, authority = served(store).key, store.read("edge/ca.crt")
    assert settled(store, GENERATED, names=["other.example"]) == ["edge/tls.pem"]
    for begun_days_ago, days_left, made_anew in (
        (334, 31, []),
        (336, 29, ["edge/tls.pem"]),
        (0, 397, ["edge/tls.pem"]),
    ):
        aged = signed(key, own_authority(store), NAMES, begun_days_ago, days_left)
        (store.root / "edge/tls.pem").write_text(key + aged)
        assert settled(store, GENERATED) == made_anew, days_left
    assert (served(store).key, store.read("edge/ca.crt")) == (key, authority)


def test_a_fresh_one_has_a_new_key(store: Store) -> None:
    settled(store, GENERATED)
    key = served(store).key
    assert settled(store, GENERATED, fresh=True) == ["edge/tls.pem"]
    assert served(store).key != key


@pytest.mark.parametrize("spoilt", ["edge/tls.pem", "edge/ca.crt", "tls/ca.crt", "tls/ca.key"])
def test_what_was_spoilt_by_hand_is_made_good(store: Store, spoilt: str) -> None:
    settled(store, GENERATED)
    (store.root / spoilt).write_text("spoilt")
    assert spoilt in settled(store, GENERATED)
    verify(served(store), store.root / "edge/ca.crt")


def test_a_key_from_an_older_host_is_taken_over(store: Store) -> None:
    key = x509.new_key()
    (store.root / "edge/tls.key").write_text(key)
    settled(store, GENERATED)
    assert served(store).key == key


# files


def test_the_operators_certificate_is_served_with_its_intermediates(
    store: Store, operator: Operator, tmp_path: Path
) -> None:
    changed = settled(store, FILES, operator.given())
    assert set(changed) == {"edge/tls.pem", "edge/ca.crt"}
    pair = served(store)
    assert (x509.public_key(pair.key), len(pair.chain)) == (x509.public_key(operator.key), 2)
    (tmp_path / "root.crt").write_text(operator.root)
    verify(pair, tmp_path / "root.crt", "-verify_hostname", "ai.example")
    assert store.read("edge/ca.crt") == operator.intermediate
    # Without being given again it stays, and nobody else's is made of it.
    assert settled(store, FILES) == []


def test_it_replaces_a_generated_one_and_a_generated_one_replaces_it(store: Store, operator: Operator) -> None:
    settled(store, GENERATED)
    own = store.read("edge/ca.crt")
    assert set(settled(store, FILES, operator.given())) == {"edge/tls.pem", "edge/ca.crt"}
    assert set(settled(store, GENERATED)) == {"edge/tls.pem", "edge/ca.crt"}
    assert (store.read("edge/ca.crt"), served(store).key == operator.key) == (own, False)


def test_a_wildcard_covers_one_label(store: Store, operator: Operator) -> None:
    settled(store, FILES, operator.given(["*.ai.example", "ai.example"]), names=["ai.example", "chat.ai.example"])
    with pytest.raises(CertificateError, match=re.escape("does not name a.chat.ai.example")):
        settled(store, FILES, operator.given(["*.ai.example"]), names=["a.chat.ai.example"])


def refusals(operator: Operator) -> dict[str, dict[str, str]]:
    good, leaf = operator.given(), operator.leaf()
    locked = x509.openssl("pkey", "-aes128", "-passout", "pass:abcdef", given=operator.key)
    return {
        "holds no PEM certificate": {**good, "certificate": "none"},
        "holds no private key": {**good, "certificate_key": "none"},
        "without a passphrase": {**good, "certificate_key": locked},
        "can't be read by openssl": {**good, "certificate": leaf.replace("MII", "AAA")},
        "is not the key of": {**good, "certificate_key": x509.new_key()},
        "is number 2 in": {**good, "certificate": operator.intermediate + leaf},
        "does not name 10.0.0.5, fd00::5": operator.given(["ai.example"]),
        "1 of edge/certificate is not signed by number 2": {**good, "certificate": leaf + operator.root},
        "certificate 1 of edge/certificate is valid from": operator.given(days_left=-1),
    }


@pytest.mark.parametrize(
    "named",
    [
        "holds no PEM certificate",
        "holds no private key",
        "without a passphrase",
        "can't be read by openssl",
        "is not the key of",
        "is number 2 in",
        "does not name 10.0.0.5, fd00::5",
        "1 of edge/certificate is not signed by number 2",
        "certificate 1 of edge/certificate is valid from",
    ],
)
def test_a_certificate_that_would_not_work_is_refused_and_the_old_one_stays(
    store: Store, operator: Operator, named: str
) -> None:
    settled(store, GENERATED)
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    with pytest.raises(CertificateError) as error:
        settle(store, NAMES, FILES, refusals(operator)[named])
    assert named in str(error.value)
    assert "nothing was changed" in str(error.value)
    assert "PRIVATE" not in str(error.value)
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before


def test_a_kind_files_that_was_never_given_is_refused(store: Store) -> None:
    settled(store, GENERATED)
    with pytest.raises(CertificateError, match="was not given; nothing was changed: run install again"):
        settle(store, NAMES, FILES, {})


# acme


def test_until_the_authority_answers_a_generated_certificate_stands_in(store: Store) -> None:
    settled(store, ACME, names=["ai.example"])
    verify(served(store), store.root / "edge/ca.crt", "-verify_hostname", "ai.example")


def test_an_authoritys_certificate_stays_for_other_names_and_is_replaced_once_it_has_ended(
    store: Store, operator: Operator
) -> None:
    settled(store, ACME, names=["ai.example"])
    key = served(store).key
    certificates.put(store, Pair(key, (operator.leaf(["ai.example"], key=key), operator.intermediate)))
    assert settled(store, ACME, names=["ai.example", "chat.example"]) == []
    assert store.read("edge/ca.crt") == operator.intermediate
    certificates.put(store, Pair(key, (operator.leaf(["ai.example"], -1, key), operator.intermediate)))
    assert set(settled(store, ACME, names=["ai.example"])) == {"edge/tls.pem", "edge/ca.crt"}
    assert (served(store).key, served(store).leaf.valid_now) == (key, True)


def test_an_acme_authority_is_not_asked_for_addresses(store: Store) -> None:
    with pytest.raises(CertificateError, match=r"not for 10\.0\.0\.5, fd00::5; nothing was changed"):
        settle(store, NAMES, ACME, {})
    assert store.changed == []


# renewal: what the timer runs


def renew(paths: Paths) -> str:
    return renewal.renew(paths, "test", lambda _line: None, OWNERS)


def test_the_timer_renews_a_generated_certificate_near_its_end_and_then_has_nothing_to_do(
    paths: Paths, store: Store
) -> None:
    put_in_order(paths, GENERATED)
    settled(store, GENERATED)
    assert renew(paths).startswith("nothing to do: the certificate for 10.0.0.5, ai.example, fd00::5 is valid until")
    assert not renewal.look(paths).due
    key = served(store).key
    aged = signed(key, own_authority(store), NAMES, 345, 20)
    (store.root / "edge/tls.pem").write_text(key + aged)
    assert renewal.look(paths).due
    assert renew(paths).startswith("renewed: ")
    assert (served(store).key, served(store).leaf.days_left > 360) == (key, True)
    assert renew(paths).startswith("nothing to do: ")


def test_the_operators_own_certificate_is_only_warned_about(
    paths: Paths, store: Store, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    put_in_order(paths, FILES)
    settled(store, FILES, operator.given(days_left=20))
    assert main(["certificate", "renew"], paths) == 0
    assert "(20 days)" in capsys.readouterr().out
    settled(store, FILES, operator.given(days_left=13))
    before = store.read("edge/tls.pem")
    assert main(["certificate", "renew"], paths) == 1
    assert "(13 days): put a new one where edge/certificate names it and run install" in capsys.readouterr().err
    assert store.read("edge/tls.pem") == before


@pytest.mark.parametrize(
    ("begun_days_ago", "days_left", "due"), [(59, 31, False), (61, 29, True), (4, 3, False), (5, 2, True)]
)
def test_an_authority_is_asked_again_in_the_last_days_and_earlier_if_it_gives_few(
    paths: Paths, store: Store, operator: Operator, begun_days_ago: int, days_left: int, due: bool
) -> None:
    put_in_order(paths, ACME, ["ai.example"])
    settled(store, ACME, names=["ai.example"])
    key, authority = served(store).key, (operator.intermediate_key, operator.intermediate)
    chain = (signed(key, authority, ["ai.example"], begun_days_ago, days_left), operator.intermediate)
    certificates.put(store, Pair(key, chain))
    (paths.acme / "issued.json").write_text(json.dumps({"directory": ACME["directory"], "chain": chain}))
    assert renewal.look(paths).due is due


def test_before_install_the_timer_refuses(paths: Paths) -> None:
    with pytest.raises(Refused, match="Run install first"):
        renew(paths)
    assert renewal.look(paths) == renewal.Due(True, "there is no certificate yet", None)


def test_a_plan_is_told_how_it_stands(paths: Paths, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put_in_order(paths, ACME, ["ai.example"])
    settled(store, ACME, names=["ai.example"])
    assert main(["certificate", "renew", "--dry", "--json"], paths) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["due"], said["order"]) == (True, {"names": ["ai.example"], "certificate": ACME})


# configured


def options(certificate: Mapping[str, Any], **edge: Any) -> dict[str, Any]:
    return {**GOOD, "edge": {"server_name": "ai.example", **edge, "certificate": dict(certificate)}}


def test_certificates_are_read_from_their_paths_without_what_stands_before_them(
    tmp_path: Path, operator: Operator
) -> None:
    chain = operator.given()["certificate"]
    (tmp_path / "chain.pem").write_text(f"subject=CN = made\n{chain}")
    path = str(tmp_path / "chain.pem")
    files = load(options({"kind": "files", "certificate": path, "key": {"env": "KEY"}}), "gpu1").edge.certificate
    acme = load(options({"kind": "acme", "email": "a@ai.example", "authority": path}), "gpu1")
    assert isinstance(files, Files)
    assert files.certificate == wanted_record(acme)["certificate"]["authority"] == chain


@pytest.mark.parametrize(
    ("edge", "named"),
    [
        ({"alternative_names": ["10.0.0.5"]}, "an ACME authority certifies names, not 10.0.0.5"),
        ({"http_port": 8080}, "an ACME authority asks on port 80"),
    ],
)
def test_what_no_acme_authority_can_do_is_refused(edge: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)):
        load(options({"kind": "acme", "email": "a@ai.example"}, **edge), "gpu1")


def test_the_examples_files_are_refused_before_anything_is_touched() -> None:
    files = options({"kind": "files", "certificate": "keys/certificate.pem", "key": {"env": "KEY"}})
    acme = options({"kind": "acme", "email": "a@ai.example", "authority": "keys/authority.pem"})
    found = [line for one in (files, acme) for line in placeholders(load(one, "gpu1")) if "edge/certificate" in line]
    assert [line.split()[0] for line in found] == ["edge/certificate/certificate", "edge/certificate/authority"]


@pytest.mark.parametrize("email", ["nobody", 'a"b@ai.example', "$(reboot)@ai.example"])
def test_an_address_that_is_none_is_refused(email: str) -> None:
    with pytest.raises(ConfigError, match="is not an e-mail address"):
        load(options({"kind": "acme", "email": email}), "gpu1")


# rendered


def test_each_kind_renders_its_record_and_a_timer(tmp_path: Path) -> None:
    for certificate in (GENERATED, {"kind": "acme", "email": "a@ai.example"}):
        config = example_config(certificate=certificate)
        tree = render_certificate(config)
        record = tree.entries["/etc/tandem/certificate.json"]
        assert isinstance(record, File)
        assert json.loads(record.content)["names"] == ["ai.example"]
        assert json.loads(record.content)["certificate"]["kind"] == certificate["kind"]
        acme = certificate["kind"] == "acme"
        assert packages(config) == (["dehydrated"] if acme else [])
        found = tree.entries.get("/var/lib/tandem/acme/challenges")
        assert found == (Directory("0750", gid=UIDS["tandem-edge"]) if acme else None)
        for name in ("tandem-certificate.service", "tandem-certificate.timer"):
            unit = tree.entries[f"/etc/systemd/system/{name}"]
            assert isinstance(unit, File)
            program = "ExecStart=/usr/local/bin/tandemctl"
            (tmp_path / name).write_text(unit.content.replace(program, "ExecStart=/bin/true"))
        subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], check=True, capture_output=True)
    assert [(unit.name, unit.run) for unit in certificate_units(example_config())] == [
        ("tandem-certificate.timer", True),
        ("tandem-certificate.service", False),
    ]


# in use

NGINX = """
worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{}}
http {{
    access_log off;
    client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    map "" $tls_file {{ default {tls}; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate $tls_file; ssl_certificate_key $tls_file;
        location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_buffering off; proxy_http_version 1.1; }}
    }}
}}
"""


def number_of(port: int, ca_file: Path) -> str:
    """The serial number of the certificate that a new handshake sees; it must be trusted through ``ca_file``."""
    context = ssl.create_default_context(cafile=str(ca_file))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        seen = secure.getpeercert()
        assert seen
        return str(seen["serialNumber"])


def test_a_renewal_cuts_no_stream_and_the_next_handshake_sees_it_without_a_reload(store: Store, tmp_path: Path) -> None:
    names, ca_file = ["127.0.0.1"], store.root / "edge/ca.crt"
    settle(store, names, GENERATED, {})
    [port] = free_ports(1)
    with upstream("engine") as engine:
        config = NGINX.format(tls=store.root / "edge/tls.pem", port=port, upstream=engine.port)
        with nginx(config, tmp_path / "nginx"):
            before = number_of(port, ca_file)
            streaming = connect(port, ca_file)
            streaming.request("GET", "/", headers={"Accept": "text/event-stream"})
            answer = streaming.getresponse()
            first = answer.readline()
            settle(store, names, GENERATED, {}, fresh=True)
            after = number_of(port, ca_file)
            rest = answer.read().decode()
            streaming.close()
    assert first.startswith(b"data: 0")
    assert [line.split()[1] for line in rest.splitlines() if line] == ["1", "2", "3", "4"]
    assert after != before
