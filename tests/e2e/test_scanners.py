"""Two independent scanners find nothing of medium severity or more, but for the dated waivers in waivers.toml."""

import datetime
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tandem.hostside.secret_files import Owners
from tandem.hostside.secrets import ensure
from tandem.hostside.split import engine_split, webui_split
from tests.e2e.install import ROOT
from tests.e2e.site import Site
from tests.golden.rendered import example, rendered

BIN = ROOT / ".venv/audit/bin"
WAIVERS = tomllib.loads((Path(__file__).parent / "waivers.toml").read_text())["waiver"]
PROCESSES = {"edge", "gate", "router-engine", "router-webui"}


def waived(scanner: str) -> set[tuple[str, str]]:
    """Finding and file of each waiver."""
    return {(one["finding"], file) for one in WAIVERS if one["scanner"] == scanner for file in one["files"]}


@pytest.fixture(scope="module")
def configurations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """nginx.conf of every process of the example host, with secrets and a split made for it."""
    folder = tmp_path_factory.mktemp("configurations")
    config = example()
    ensure(
        folder / "secrets",
        users=config.edge.users,
        clients=sorted(config.edge.clients),
        names=[config.edge.server_name, *config.edge.alternative_names],
        certificate={"kind": "generated"},
        given={},
        owners=Owners(*[os.getuid()] * 4),
    )
    (folder / "split").mkdir()
    (folder / "split/engine.conf").write_text(engine_split({"blue": [18100, 18101]}, {"blue": 100}))
    (folder / "split/webui.conf").write_text(webui_split(18300))
    places = {
        r"/run/tandem-(edge|gate)-secrets/": rf"{folder}/secrets/\1/",
        r"/var/lib/tandem/split/": f"{folder}/split/",
    }
    found = {}
    for group in rendered(config, "blue").groups:
        if "nginx.conf" in group.files:
            text = group.files["nginx.conf"].content
            for here, there in places.items():
                text = re.sub(here, there, text)
            found[Path(group.base).name] = folder / f"{Path(group.base).name}.conf"
            found[Path(group.base).name].write_text(text)
    return found


@pytest.fixture(scope="module")
def gixy(configurations: dict[str, Path]) -> set[tuple[str, str]]:
    """Check and file of each finding of medium severity or more."""
    found = set()
    for name, path in configurations.items():
        done = subprocess.run(
            [BIN / "gixy", "--format=json", "-ll", path], capture_output=True, text=True, check=False, timeout=60
        )
        assert "File not found" not in done.stderr, done.stderr
        found |= {(row["plugin"], name) for row in json.loads(done.stdout)}
    return found


def test_every_configuration_is_scanned_with_what_it_includes(configurations: dict[str, Path]) -> None:
    assert configurations.keys() == PROCESSES
    included = [
        (name, path)
        for name, file in configurations.items()
        for path in re.findall(r"^\s*include ([^;]+);", file.read_text(), re.MULTILINE)
    ]
    assert len(included) >= len(PROCESSES)
    unbracketed = [(name, re.sub(r"\[(.)\]$", r"\1", path)) for name, path in included]
    assert [pair for pair in unbracketed if not Path(pair[1]).is_file()] == []


def test_gixy_finds_what_is_wrong(configurations: dict[str, Path], tmp_path: Path) -> None:
    """One weakness put into the edge's configuration: the scanner does read it."""
    text = configurations["edge"].read_text()
    (tmp_path / "nginx.conf").write_text(text.replace("ssl_protocols TLSv1.2", "ssl_protocols TLSv1 TLSv1.2"))
    done = subprocess.run(
        [BIN / "gixy", "--format=json", "-ll", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False
    )
    assert "weak_ssl_tls" in {row["plugin"] for row in json.loads(done.stdout)}


def test_gixy_finds_nothing_that_is_not_waived(gixy: set[tuple[str, str]]) -> None:
    assert gixy - waived("gixy") == set()


def test_every_waiver_still_matches_and_says_since_when_and_why(gixy: set[tuple[str, str]]) -> None:
    assert waived("gixy") - gixy == set()
    for one in WAIVERS:
        assert one["scanner"] == "gixy", "only gixy has waivers so far: match those of another scanner here as well"
        assert one["since"] <= datetime.date.today()
        assert len(one["reason"]) > 30


@pytest.fixture(scope="module")
def sslyze(site: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What it said of the live edge against Mozilla's intermediate profile, and its results."""
    report = tmp_path_factory.mktemp("sslyze") / "report.json"
    command = [str(BIN / "sslyze"), "--mozilla_config=intermediate", "--http_headers"]
    scans = [
        "certinfo",
        "resum",
        "heartbleed",
        "openssl_ccs",
        "robot",
        "reneg",
        "fallback",
        "compression",
        "early_data",
    ]
    scans += ["ems", "elliptic_curves", "sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3"]
    command += [f"--{scan}" for scan in scans]
    command += [f"--certinfo_ca_file={site.access['ca_file']}", f"--json_out={report}", f"{site.address}:443"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    results = json.loads(report.read_text())["server_scan_results"]
    assert [one["scan_status"] for one in results] == ["COMPLETED"], done.stdout
    return done.stdout, results[0]["scan_result"]


def test_the_live_edge_is_mozillas_intermediate(sslyze: tuple[str, dict[str, Any]]) -> None:
    text, _ = sslyze
    verdict = text[text.index("COMPLIANCE AGAINST TLS CONFIGURATION") :]
    assert re.findall(r"^ *\* (.+)", verdict, re.MULTILINE) == []
    assert "OK - Compliant" in verdict


def test_every_scan_of_the_live_edge_was_made(sslyze: tuple[str, dict[str, Any]]) -> None:
    _, results = sslyze
    made = {name: one["status"] for name, one in results.items() if one["status"] != "NOT_SCHEDULED"}
    assert len(made) >= 16
    assert {name for name, status in made.items() if status != "COMPLETED"} == set()


def test_the_live_edge_has_no_known_weakness(sslyze: tuple[str, dict[str, Any]]) -> None:
    _, results = sslyze
    found = {name: one["result"] for name, one in results.items() if one["result"]}
    assert not found["heartbleed"]["is_vulnerable_to_heartbleed"]
    assert not found["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"]
    assert found["robot"]["robot_result"].startswith("NOT_VULNERABLE")
    assert not found["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"]
    assert found["session_renegotiation"]["supports_secure_renegotiation"]
    assert found["tls_fallback_scsv"]["supports_fallback_scsv"]
    assert not found["tls_compression"]["supports_compression"]
    assert not found["tls_1_3_early_data"]["supports_early_data"]
    assert found["tls_extended_master_secret"]["supports_ems_extension"]
    old = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")
    assert {name for name in old if found[f"{name}_cipher_suites"]["accepted_cipher_suites"]} == set()


def test_the_certificate_is_trusted_by_the_authority_that_clients_are_given(sslyze: tuple[str, dict[str, Any]]) -> None:
    _, results = sslyze
    chains = results["certificate_info"]["result"]["certificate_deployments"]
    assert chains
    for chain in chains:
        stores = {one["trust_store"]["name"]: one for one in chain["path_validation_results"]}
        assert stores["Supplied CA file"]["was_validation_successful"]
        assert chain["received_chain_has_valid_order"]


def test_browsers_are_told_to_insist_on_https(sslyze: tuple[str, dict[str, Any]]) -> None:
    _, results = sslyze
    header = results["http_headers"]["result"]["strict_transport_security_header"]
    assert header
    assert header["max_age"] >= 31_536_000
