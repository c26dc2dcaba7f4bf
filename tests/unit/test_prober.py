"""The prober between real engines on loopback: whom it asks what and when, and what it writes down."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tandem.domain.advance import Comparison, Phase, Rollout
from tandem.domain.case_expect import Expect
from tandem.domain.cases import Case, Message, compiled
from tandem.domain.layout import Engine, Strategy, Swap
from tandem.domain.rollout import Slot, State, Webui
from tandem.hostside import samples, state
from tandem.hostside.paths import Paths
from tandem.hostside.prober import Prober, main
from tests.unit.case_engine import KEY, MODEL, Temper, engine

ANSWERS = {f"Q{n}?": f"A{n} it is" for n in range(4)}
CASES = tuple(
    Case(f"c{n}", "answer", (Message("user", f"Q{n}?", expect=Expect(contains=(f"A{n}",))),), {"stream": True}, n == 2)
    for n in range(4)
)
OLD, NEW = Engine("blue", 0), Engine("green", 1)


@dataclass
class Host:
    """A host's record and samples; ``tempers``: its engines."""

    paths: Paths
    tempers: dict[Engine, Temper]
    ports: dict[Engine, int]
    problems: list[BaseException] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.paths.prober / "r1.jsonl"

    def record(self, rollout: Rollout | None) -> None:
        blue = Slot("a", "d1", (18100, 18101), 100, (18100,), MODEL)
        green = Slot("b", "d2", (18200, 18201), 0, (), MODEL)
        slots = {"blue": blue, "green": green} if rollout else {"blue": blue}
        state.save(self.paths.state, State("blue", slots, Webui("blue", 18300), rollout))

    def begin(self, phase: Phase = "comparing", weight: int = 0, step: int = 2, **more: Any) -> Rollout:
        strategy: Strategy = more.pop("strategy", "take-turns")
        swap = Swap("blue", "green", (0, 1), strategy, more.pop("convert_at", "soak_end"))
        pace = Comparison(pair_seconds=more.pop("pair_seconds", 0.0))
        rollout = Rollout(swap, phase=phase, weight=weight, step=step, id="r1", comparison=pace, **more)
        self.record(rollout)
        return rollout

    def pairs(self, step: int = 2) -> list[dict[str, Any]]:
        return samples.Reader(self.file).step(step)

    @contextmanager
    def probing(self, cases: tuple[Case, ...] = CASES) -> Iterator[None]:
        """The prober in a thread; at the end the rollout is gone, and so must it be."""
        prober = Prober(self.paths, cases, KEY, lambda slot, card: self.ports[Engine(slot, card)], 5.0, 0.05)

        def run() -> None:
            try:
                prober.run()
            except BaseException as problem:
                self.problems.append(problem)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.record(None)
            thread.join(10)
        assert not thread.is_alive()
        assert not self.problems


@contextmanager
def host(folder: Path, *engines: Engine) -> Iterator[Host]:
    paths = Paths(folder)
    paths.prober.mkdir(parents=True)
    tempers = {one: Temper(ANSWERS) for one in engines or (OLD, NEW)}
    with ExitStack() as stack:
        yield Host(paths, tempers, {one: stack.enter_context(engine(temper)) for one, temper in tempers.items()})


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as found:
        yield found


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def test_every_case_is_asked_once_and_then_again_of_both_in_random_order(two: Host) -> None:
    order: list[str] = []
    for one, temper in two.tempers.items():
        temper.before = lambda question, slot=one.slot: order.append(slot)  # type: ignore[misc]
    two.begin()
    with two.probing():
        until(lambda: len(two.pairs()) >= 24)
    pairs = two.pairs()
    assert [set(Counter(pair["case"] for pair in pairs[n : n + 4]).values()) for n in (0, 4, 8)] == [{1}] * 3
    for pair in pairs:
        assert pair["critical"] == (pair["case"] == "c2")
        assert pair["graded"]
        assert pair["busy"] == [0, 0]
        for side in ("old", "new"):
            assert (pair[side]["error"], pair[side]["failed"]) == (None, [])
            assert 0 < pair[side]["token_gap_seconds"] < pair[side]["total_seconds"]
    firsts = Counter(order[: 2 * len(pairs)][::2])
    assert min(firsts["blue"], firsts["green"]) >= 4
    assert {tuple(sorted(order[n : n + 2])) for n in range(0, 2 * len(pairs), 2)} == {("blue", "green")}


def test_pairs_keep_their_distance(two: Host) -> None:
    times: list[float] = []
    for temper in two.tempers.values():
        temper.before = lambda question: times.append(time.monotonic())
    two.begin(pair_seconds=0.5)
    with two.probing():
        until(lambda: len(times) >= 8)
    # From the start of the first pair to that of the fourth; a busy machine may be late with the first.
    assert times[6] - times[0] >= 1.2


def test_two_engines_on_a_side_are_asked_in_turn_and_one_that_is_not_ready_is_not_asked(tmp_path: Path) -> None:
    engines = [Engine(slot, card) for slot in ("blue", "green") for card in (0, 1)]
    with host(tmp_path, *engines) as four:
        four.begin("shifting", 30, strategy="side-by-side")
        with four.probing():
            until(lambda: len(four.pairs()) >= 8)
        asked = [len(temper.asked) for temper in four.tempers.values()]
        assert min(asked) >= 4
        assert max(asked) - min(asked) <= 1
        four.tempers[engines[3]].ready = False
        before = len(four.tempers[engines[3]].asked)
        four.begin("shifting", 50, step=3, strategy="side-by-side")
        with four.probing():
            until(lambda: len(four.pairs(3)) >= 4)
        assert len(four.tempers[engines[3]].asked) == before
        assert not any(pair["new"]["error"] for pair in four.pairs(3))


@pytest.mark.parametrize(("one", "side"), [(OLD, "old"), (NEW, "new")])
def test_an_engine_that_goes_away_is_one_error_and_one_that_only_starts_is_none(
    two: Host, one: Engine, side: str
) -> None:
    temper = two.tempers[one]
    temper.ready = False
    two.begin()
    with two.probing():
        time.sleep(0.5)
        assert not two.file.exists()
        temper.ready = True
        until(lambda: len(two.pairs()) >= 2)
        temper.status, temper.ready = 503, False
        until(lambda: any(pair[side]["error"] for pair in two.pairs()))
        time.sleep(1)
        temper.status, temper.ready = 200, True
        count = len(two.pairs())
        until(lambda: len(two.pairs()) > count)
    errors = [pair[side]["error"] for pair in two.pairs() if pair[side]["error"]]
    # The pair that was under way may be one of them too.
    assert errors in (["status 503"], ["status 503"] * 2)


def test_a_critical_case_that_failed_on_the_new_side_only_comes_again_at_once_and_only_once(two: Host) -> None:
    two.tempers[NEW].answers = {**ANSWERS, "Q2?": "wrong", "Q1?": "wrong"}
    two.begin()
    with two.probing():
        until(lambda: len(two.pairs()) >= 13)
    names = [pair["case"] for pair in two.pairs()][:13]
    first = names.index("c2")
    assert names[first + 1] == "c2"
    assert Counter(names[:5])["c2"] == 2
    assert max(len(list(run)) for run in _runs(names, "c2")) == 2
    assert max(len(list(run)) for run in _runs(names, "c1")) == 1


def _runs(names: list[str], name: str) -> list[list[str]]:
    """The unbroken rows of a name."""
    found: list[list[str]] = [[]]
    for one in names:
        if one == name:
            found[-1].append(one)
        elif found[-1]:
            found.append([])
    return found


def test_a_pair_during_which_the_step_changed_is_dropped(two: Host) -> None:
    rollout = two.begin(step=2)
    arrived, go = threading.Event(), threading.Event()

    def wait(question: str) -> None:
        arrived.set()
        go.wait(5)

    two.tempers[NEW].before = wait
    with two.probing():
        assert arrived.wait(5)
        two.record(replace(rollout, phase="shifting", weight=10, step=3))
        go.set()
        until(lambda: len(two.pairs(3)) >= 2)
    assert two.pairs(2) == []


@pytest.mark.parametrize("phase", ["staging", "finishing", "rolling_back"])
def test_nothing_is_asked_in_a_phase_that_is_not_judged(two: Host, phase: Phase) -> None:
    two.begin(phase)
    with two.probing():
        time.sleep(0.5)
    assert not any(temper.asked for temper in two.tempers.values())


def test_a_record_that_is_missing_or_damaged_is_waited_for(
    two: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two.paths.state.unlink(missing_ok=True)
    with two.probing():
        time.sleep(0.3)
        (tmp_path / "damaged").write_text("{")
        (tmp_path / "damaged").rename(two.paths.state)
        time.sleep(0.5)
        two.begin()
        until(lambda: len(two.pairs()) >= 1)
    assert capsys.readouterr().err.count("is damaged") == 1


def test_another_rollout_is_not_asked_the_cases_of_the_one_before(two: Host) -> None:
    rollout = two.begin()
    with two.probing():
        until(lambda: len(two.pairs()) >= 1)
        two.record(replace(rollout, id="r2"))
        time.sleep(0.5)
        assert not (two.paths.prober / "r2.jsonl").exists()


def test_a_soak_without_the_old_release_asks_the_new_one_alone(tmp_path: Path) -> None:
    with host(tmp_path, Engine("green", 0), NEW) as soaking:
        soaking.begin("soaking", 100, convert_at="full")
        with soaking.probing():
            until(lambda: len(soaking.pairs()) >= 4)
        assert all(pair["old"] is None and pair["busy"] == [None, 0] for pair in soaking.pairs())
        assert all(temper.asked for temper in soaking.tempers.values())


def test_what_else_an_engine_has_to_do_is_written_down(two: Host) -> None:
    two.tempers[OLD].running, two.tempers[OLD].waiting, two.tempers[NEW].waiting = 3, 2, 1
    two.begin()
    with two.probing():
        until(lambda: len(two.pairs()) >= 1)
    assert two.pairs()[0]["busy"] == [5, 1]


def test_cases_longer_than_the_smaller_context_are_left_out_and_named_once_in_a_step(two: Host) -> None:
    long = replace(CASES[0], name="long", messages=(Message("user", "x" * 3000),))
    two.tempers[OLD].context = 500
    two.begin()
    for _ in range(2):
        with two.probing((*CASES, long)):
            count = len(two.pairs())
            until(lambda count=count: len(two.pairs()) >= count + 6)  # type: ignore[misc]
        two.begin()
    assert not any(pair["case"] == "long" for pair in two.pairs())
    lines = [json.loads(line) for line in two.file.read_text().splitlines()]
    assert [line for line in lines if "skipped" in line] == [{"step": 2, "skipped": ["long"]}]


def test_another_process_goes_on_where_one_was_cut_short(two: Host) -> None:
    two.begin(pair_seconds=60)
    names = []
    for count in (1, 2, 3, 4):
        with two.probing():
            until(lambda count=count: len(two.pairs()) == count)  # type: ignore[misc]
        names = [pair["case"] for pair in two.pairs()]
        two.begin(pair_seconds=60)
    assert len(set(names)) == 4


def test_no_text_of_prompts_and_answers_is_in_samples_or_output(two: Host, capsys: pytest.CaptureFixture[str]) -> None:
    two.tempers[NEW].answers = {"Q0?": "xyzzy"}
    two.begin()
    with two.probing():
        until(lambda: len(two.pairs()) >= 5)
    kept = two.file.read_text() + "".join(capsys.readouterr())
    assert "step 2 (comparing): 4 cases for blue and green" in kept
    assert not any(text in kept for text in ("xyzzy", "Q0?", "A1", "it is", KEY))
    assert two.file.stat().st_mode & 0o777 == 0o600


def test_killed_at_any_moment_no_whole_line_is_lost_or_damaged(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    program = (
        "import sys; from pathlib import Path; from tandem.hostside.samples import append\n"
        "for n in range(10**6): append(Path(sys.argv[1]), "
        "{'step': 1, 'case': 'c', 'n': n, 'old': None, 'new': {'pad': 'x' * 2000}})"
    )
    for _ in range(5):
        before = file.stat().st_size if file.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", program, str(file)], cwd=Path(__file__).parents[2])
        try:
            until(lambda: file.exists() and file.stat().st_size > before + 20000)  # noqa: B023
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    with file.open("rb+") as torn:
        torn.truncate(file.stat().st_size - 100)
    reader = samples.Reader(file)
    known = reader.step(1)
    assert len(known) > 40
    samples.append(file, {"step": 1, "case": "last", "old": None, "new": {}})
    assert [pair["case"] for pair in reader.step(1)[len(known) :]] == ["last"]
    assert reader.damaged == 1


def test_a_reader_sees_what_was_added_and_leaves_half_a_line_alone(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    reader = samples.Reader(file)
    assert reader.step(1) == []
    line = json.dumps({"step": 1, "case": "a", "old": None, "new": {}})
    file.write_text(f"{line}\n{line[:20]}")
    assert len(reader.step(1)) == 1
    with file.open("a") as more:
        more.write(f"{line[20:]}\nnonsense\n[]\n" + line.replace('"step": 1', '"step": 2') + "\n")
    assert len(reader.step(1)) == 2
    assert (len(reader.step(2)), len(reader.step(1))) == (1, 0)
    assert reader.damaged == 2


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_a_reader_is_not_led_astray_by_what_is_no_file(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "s.jsonl"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to("/etc/passwd")
    else:
        place.mkdir()
    with pytest.raises(OSError, match=r"s\.jsonl"):
        samples.Reader(place).step(1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cases can't be read (No such file or directory)"),
        ("{", "cases.json is damaged"),
        (compiled([]), "cases.json: there is no case"),
        ('{"schema": 9}', "compile them anew"),
        ('{"schema": 1, "cases": [{"secret": 1}]}', "cases.json is damaged"),
    ],
)
def test_cases_that_can_not_be_read_end_it_with_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    words: str,
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "upstream_key").write_text(KEY + "\n")
    if text is not None:
        (tmp_path / "cases").write_text(text)
    assert main(Paths(tmp_path)) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "Nothing was asked." in said
    assert "secret" not in said


def test_it_ends_well_when_there_is_no_rollout(
    two: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"name": "c", "kind": "answer", "messages": [{"role": "user", "content": "Q?"}], "request": {}}
    (tmp_path / "cases").write_text(compiled([record]))
    (tmp_path / "upstream_key").write_text(KEY + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    two.record(None)
    assert main(two.paths) == 0
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert main(two.paths) == 1
    assert "run by tandem-prober.service" in capsys.readouterr().err


def test_samples_that_can_not_be_written_end_it_with_a_sentence(
    two: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"name": "c", "kind": "answer", "messages": [{"role": "user", "content": "Q?"}], "request": {}}
    (tmp_path / "cases").write_text(compiled([record]))
    (tmp_path / "upstream_key").write_text(KEY + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    two.begin()
    two.file.symlink_to("/dev/full")
    assert main(two.paths) == 1
    assert "The samples so far are whole." in capsys.readouterr().err
