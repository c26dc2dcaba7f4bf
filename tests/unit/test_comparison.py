"""What is compared, as operators configure it: the cases that they name, in the one report and on the host."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tandem.config import ConfigError, load
from tandem.domain.cases import from_document
from tandem.domain.slots import UIDS
from tandem.render.prober import CASES, SAMPLES, prober_units, render_prober
from tandem.render.tree import Directory, File
from tests.unit.test_config import GOOD

UID = UIDS["tandem-prober"]
ROOT = Path(__file__).resolve().parents[2]


def comparing(cases: object) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), "upgrade": {"comparison": {"cases": cases}}}


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(data, "gpu1")
    return str(caught.value).splitlines()[1:-1]


def test_the_cases_of_tandem_are_used_where_none_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = {case.name for case in load(GOOD, "gpu1").upgrade.comparison.cases}
    assert {"json-person", "latency-short"} <= names
    assert "what-is-the-capital-of-france" not in names


def test_named_files_and_folders_take_their_place() -> None:
    folder = str(ROOT / "cases/rehearsal")
    named = load(comparing([folder, str(ROOT / "cases/latency.yaml")]), "gpu1").upgrade.comparison.cases
    names = [case.name for case in named]
    assert "what-is-the-capital-of-france" in names
    assert "latency-short" in names
    assert "json-person" not in names


def test_every_mistake_in_a_file_of_cases_is_in_the_one_report(tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "Q?", "expect": {"contains": ["A"]}}]}
    lines = [{"name": "B b", **good}, {"name": "c", "messages": []}, {"name": "d", **good}]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = comparing([str(file), str(tmp_path / "absent.yaml")])
    data["gpu"] = {"driver_source": "nope"}
    found = problems(data)
    assert len(found) == 4
    for number, words in enumerate(
        ["driver_source", "mine.jsonl, line 1, case 'B b': name:", "mine.jsonl, line 2, case 'c': messages:"]
    ):
        assert words in found[number]
    assert found[3].endswith("absent.yaml can't be read (No such file or directory)")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no case there; give a list of cases"),
        ("cases", "upgrade/comparison/cases: 'cases' is text; give a list"),
        ([3], "upgrade/comparison/cases/0: 3 is a number"),
    ],
)
def test_what_names_no_files_is_told_what_to_give(given: object, words: str) -> None:
    assert len(found := problems(comparing(given))) == 1
    assert words in found[0]


def test_more_cases_than_reach_the_host_are_refused(tmp_path: Path) -> None:
    message = {"role": "user", "content": "word " * 100_000, "expect": {"contains": ["A"]}}
    file = tmp_path / "long.jsonl"
    file.write_text("".join(json.dumps({"name": f"c{n}", "messages": [message]}) + "\n" for n in range(2)))
    assert "the cases have 1000" in problems(comparing([str(file)]))[0]


def test_the_host_gets_the_cases_for_the_prober_alone_and_they_read_as_they_were_written() -> None:
    comparison = load(comparing([str(ROOT / "cases")]), "gpu1").upgrade.comparison
    tree = render_prober(comparison)
    cases = tree.entries[CASES]
    assert isinstance(cases, File)
    assert (cases.mode, cases.uid, cases.gid) == ("0600", 0, 0)
    assert {case.name for case in from_document(cases.content)} == {case.name for case in comparison.cases}
    assert tree.entries[SAMPLES] == Directory("0700", UID, UID)


def test_the_unit_runs_as_its_user_and_reaches_this_machine_only() -> None:
    tree = render_prober(load(comparing([str(ROOT / "cases/rehearsal")]), "gpu1").upgrade.comparison)
    (unit,) = prober_units()
    service = tree.entries[f"/etc/systemd/system/{unit.name}"]
    assert isinstance(service, File)
    assert not unit.run
    for line in (
        "User=tandem-prober",
        "LoadCredential=upstream_key:/etc/tandem/secrets/upstream_key",
        f"LoadCredential=cases:{CASES}",
        "IPAddressDeny=any",
        "IPAddressAllow=localhost",
        "ProtectSystem=strict",
        f"ReadWritePaths={SAMPLES}",
        "Restart=on-failure",
        "Nice=5",
    ):
        assert line in service.content.splitlines()
    assert "[Install]" not in service.content
