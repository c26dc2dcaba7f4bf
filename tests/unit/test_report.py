"""The comparison report shows what the samples say, needs nothing from elsewhere, and no text of theirs is markup."""

import math
import random
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from tandem import report_plots
from tandem.report import html
from tandem.report_figures import Asked, asked, cases, quantile
from tandem.report_plots import HEIGHT, WIDTH, ticks
from tests.unit.spoiling import spoiled

TIMES = {"first_token_seconds": 0.1, "total_seconds": 4.0, "token_gap_seconds": 0.02}
MEBIBYTE = 2**20
VOID = {"meta", "br", "link", "img", "hr", "input"}


def answer(slower: float = 1.0, **changed: Any) -> dict[str, Any]:
    return {**{name: slower * seconds for name, seconds in TIMES.items()}, "error": None, "failed": [], **changed}


def failed(*sentences: str) -> dict[str, Any]:
    return answer(failed=list(sentences))


def error(kind: str) -> dict[str, Any]:
    return {**dict.fromkeys(TIMES), "error": kind, "failed": []}


def sample(case: str, old: Any, new: Any, step: int = 2, **changed: Any) -> dict[str, Any]:
    line = {"step": step, "boot_seconds": 10.0, "case": case, "critical": False, "graded": True, "busy": [1, 1]}
    return {**line, "old": old, "new": new, **changed}


def step(number: int, phase: str, weight: int, outcome: str = "pass", **changed: Any) -> dict[str, Any]:
    result = {"metric": "errors", "outcome": outcome, "reason": f"errors of step {number}", "figures": {"n": 1}}
    verdict = {"outcome": outcome, "reasons": [f"because of {number}"], "results": [result]}
    return {"step": number, "phase": phase, "weight": weight, "verdict": verdict, "seconds": 5400.0, **changed}


def report(*samples: dict[str, Any], seed: int = 0, **changed: Any) -> dict[str, Any]:
    rollout = {
        "id": "r1", "who": "ann@desk", "began_at": "2026-11-20T09:00:00Z", "strategy": "take-turns", "outcome": None,
        "old": {"release": "a", "digest": "0a1b", "revision": "r7", "image": "i@sha256:1"},
        "new": {"release": "b", "digest": "9f8e", "revision": "r7", "image": "i@sha256:2"}, "why": "",
    }  # fmt: skip
    steps = [step(1, "staging", 0, verdict=None), step(2, "comparing", 0), step(3, "shifting", 30, "inconclusive")]
    history = [{"at": "2026-11-20T10:00:00Z", "sentence": "30 % of the requests to the new release"}]
    found = list(samples) or many(60, seed)
    return {"rollout": {**rollout, **changed}, "steps": steps, "samples": found, "history": history}


def many(count: int, seed: int = 0, names: int = 20) -> list[dict[str, Any]]:
    """Answers of very different length, some wrong, some not at all."""
    rng = random.Random(seed)  # noqa: S311
    found = []
    for number in range(count):
        length = rng.lognormvariate(0, 1)
        sides = [answer(length * rng.lognormvariate(0, 0.2)) for _ in range(2)]
        for side in (0, 1):
            if rng.random() < 0.05:
                sides[side] = error("timeout")
            elif rng.random() < 0.05:
                sides[side]["failed"] = ["answer 1 does not hold a text"]
        found.append(sample(f"case-{number % names}", sides[0], sides[1], step=2 + number % 2))
    return found


def drawn(svg: str) -> Xml.Element:
    return Xml.fromstring(svg)  # noqa: S314 - it is our own


class Page(HTMLParser):
    """What a reader sees, and the tags; fails for tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.plots = [drawn(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.S)]
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def figures(self) -> list[float]:
        """All numbers of the drawings."""
        drawn = ("d", "x", "y", "cx", "cy", "r", "width", "height", "viewBox")
        found = [one.get(name, "") for plot in self.plots for one in plot.iter() for name in drawn]
        return [float(number) for value in found for number in re.split(r"[\sA-Za-z]+", value) if number]


def text(whole: dict[str, Any]) -> str:
    return Page(html(whole)).text


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"outcome": "finished"}, "Release b took the place of release a."),
        (
            {"outcome": "undone", "why": "too slow"},
            "Release b was taken back, release a has all requests again: too slow.",
        ),
        ({"held": "ann waits"}, "Release b beside release a is held: ann waits."),
        ({"outcome": "soaking"}, "Release b beside release a: under way, phase soak."),
        (
            {"outcome": "shifting", "weight": 50, "why": "ann waits"},
            "Release b beside release a: under way, phase shift, 50 % of the requests: ann waits.",
        ),
        ({}, "Release b beside release a with 30 % of the requests: phase shift, not decided."),
    ],
)
def test_the_verdict_stands_on_top_in_one_sentence(changed: dict[str, Any], sentence: str) -> None:
    page = html(report(**changed))
    top = page[page.index("<h1>") + 4 : page.index("</h1>")]
    assert top == sentence
    assert "Last verdict (step 3, 30 %): not decided because of 3" in Page(page).text


def test_both_releases_stand_side_by_side_and_differences_are_marked() -> None:
    shown = text(report())
    assert "release a b differs digest 0a1b 9f8e differs model revision r7 r7 same engine image" in shown


def test_every_step_has_its_share_time_outcome_and_reasons() -> None:
    shown = text(report())
    assert "0 % compare, unexposed 1 h 30 min passed" in shown
    assert "30 % shift 1 h 30 min not decided" in shown
    assert "Step 2: compare, unexposed, 0 % passed 30 questions asked because of 2" in shown
    assert "errors passed errors of step 2" in shown
    assert "Step 1" not in shown, "there is nothing to say about a step without a verdict"


def test_a_step_that_is_told_twice_is_shown_once_as_it_was_told_last() -> None:
    whole = report()
    whole["steps"].append(step(3, "shifting", 30, "fail"))
    shown = text(whole)
    assert shown.count("Step 3:") == 1
    assert "Step 3: shift, 30 % failed" in shown


def test_the_realised_share_is_shown_where_requests_were_counted() -> None:
    whole = report()
    assert "realised" not in text(whole)
    whole["steps"][2]["traffic"] = {"old": {"requests": 150, "tokens": 300}, "new": {"requests": 50, "tokens": 100}}
    assert "realised share 25.0 % of the requests, 25.0 % of the tokens" in text(whole)
    whole["rollout"]["old"]["slot"], whole["rollout"]["new"]["slot"] = "blue", "green"
    whole["steps"][2]["traffic"] = {"blue": {"requests": 150}, "green": {"requests": 350}}
    assert "realised share 70.0 % of the requests" in text(whole)
    whole["steps"][2]["traffic"] = {"old": {"requests": 0}, "new": {"requests": 0}}
    assert "realised" not in text(whole)


def test_a_case_is_told_by_what_both_sides_did_with_it() -> None:
    right, wrong = answer(), failed("answer 1 is too short")
    lines = [
        sample("lost", right, wrong), sample("lost", right, right), sample("won", wrong, right),
        sample("void", wrong, error("cut")), sample("same", right, right), sample("alone", None, right),
        sample("open", right, wrong, graded=False), sample("grave", right, wrong, critical=True),
    ]  # fmt: skip
    said = [(case.name, case.says) for case in cases(asked(lines))]
    assert said == [
        ("grave", "lost"), ("lost", "lost"), ("void", "none"), ("won", "won"), ("alone", "alone"), ("same", "same"),
    ]  # fmt: skip
    shown = text(report(*lines))
    assert "lost 1 of 1" not in shown
    assert "lost 2 of 2 1 of 2 fails on the new side only new, 1x: answer 1 is too short" in shown
    assert "grave (critical) 1 of 1 0 of 1 fails on the new side only" in shown
    assert "old, 1x: answer 1 is too short new, 1x: no answer: cut" in shown
    assert "alone not asked 1 of 1 no evidence: not asked of both sides" in shown
    assert "The old release fails these too, so they say nothing about the new one: void." in shown


def test_cases_that_were_never_asked_are_named() -> None:
    assert "can take: recall-64k." in text(
        report(sample("a", answer(), answer()), {"step": 2, "skipped": ["recall-64k"]})
    )


def test_errors_are_counted_by_kind_and_side() -> None:
    shown = text(
        report(sample("a", error("cut"), error("timeout")), sample("b", answer(), error("timeout"), graded=False))
    )
    assert "kind old new cut 1 0 timeout 0 2" in shown


def test_pairs_are_set_against_each_other_at_equal_load_only() -> None:
    halves = [sample("a", answer(1.0), answer(2.0), step=3) for _ in range(20)]
    whole = report(*halves, *(sample("a", answer(1.0), answer(9.0)) for _ in range(20)))
    assert "No step had equal load" in text(whole)
    whole["steps"][2]["weight"] = 50
    shown = text(whole)
    assert "which these steps had: 3." in shown
    assert "typically took 2.00 times as long as the old one (middle half of 20 pairs: 2.00 to 2.00)" in shown
    assert "9.00 times" not in shown


def test_times_are_of_pairs_that_both_sides_answered() -> None:
    lines = [
        sample("a", answer(), answer(3.0)),
        sample("a", error("cut"), answer(50.0)),
        sample("a", None, answer(70.0)),
    ]
    shown = text(report(*lines))
    assert "old: release a 4 s 4 s 4 s" in shown
    assert "new: release b 12 s 12 s 12 s" in shown
    assert "answers of the new side alone 1" in shown
    assert "pairs of answers 2" in shown


def test_a_rollout_without_samples_or_steps_says_so() -> None:
    shown = text({"rollout": report()["rollout"], "steps": [], "samples": [], "history": []})
    assert "Release b beside release a: nothing was measured yet." in shown
    assert "There is no verdict yet." in shown
    assert "passed" not in shown.replace("old passed", "").replace("new passed", "")
    assert text({}).count("No pair has this time on both sides yet.") == 3


def test_texts_are_never_markup() -> None:
    evil = "<script>alert(1)</script><img src=x onerror=y>\"'&"
    lines = [sample(evil, failed(evil), error(evil)), sample("a", answer(), answer()), {"step": 1, "skipped": [evil]}]
    whole = report(*lines, outcome="undone", why=evil, who=evil, id=evil, held=evil)
    whole["rollout"]["new"] = dict.fromkeys(whole["rollout"]["new"], evil)
    whole["steps"] = [step(2, evil, 10), step(3, "shifting", 20, evil)]
    whole["steps"][0]["verdict"]["reasons"] = [evil]
    whole["history"] = [{"at": evil, "sentence": evil}]
    page = Page(html(whole))
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(evil) > 10


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = html(report())
    names = {name for _, attributes in Page(page).tags for name in attributes}
    assert not names & {"src", "href", "xlink:href", "srcset", "action", "data"}
    assert not re.search(r"https?:|url\(|@import|<script", page)


def test_every_plot_has_a_text_in_its_place() -> None:
    page = Page(html(report()))
    plots = [plot for plot in page.plots if plot.get("aria-hidden") != "true"]
    assert len(plots) == 3 * 2 + 3, "two of each time, a column of each step"
    labels = [plot.get("aria-label", "") for plot in plots]
    assert all(plot.get("role") == "img" for plot in plots)
    assert sum("half within" in label for label in labels) == 3
    assert sum("medians" in label for label in labels) == 3
    assert "30 % to the new release" in labels


def test_drawings_stay_inside_their_frame() -> None:
    for lines in ([sample("a", answer(), answer())], many(500), [sample("a", answer(1e-7), answer(1e7))]):
        for plot in Page(html(report(*lines))).plots:
            if plot.get("class") == "plot":
                for one in plot.iter():
                    assert 0 <= float(one.get("cx", one.get("x", "0"))) <= WIDTH
                    assert 0 <= float(one.get("cy", one.get("y", "0"))) <= HEIGHT


def test_a_curve_rises_from_none_to_all_and_to_the_right_for_slower_answers() -> None:
    plot = drawn(str(report_plots.curves([1.0, 2.0, 4.0], [float(n) for n in range(2, 2000)], "total time")))
    for path in plot.iterfind("path[@class]"):
        if "line" in path.get("class", ""):
            across = [float(one) for one in re.findall(r"[MH]([\d.]+)", path.get("d", ""))]
            down = [float(one) for one in re.findall(r"(?:V|M[\d.]+ )([\d.]+)", path.get("d", ""))]
            assert across == sorted(across)
            assert down == sorted(down, reverse=True)
            assert (down[0], down[-1]) == (report_plots._up(0), report_plots._up(1))
    old, new = (dot for dot in plot.iterfind("circle"))
    assert float(old.get("cx", "")) < float(new.get("cx", "")), "the side with the greater median stands at the right"
    assert "old: half within 2 s, 95 % within 4 s; new: half within 1000 s" in plot.get("aria-label", "")


def test_the_slower_side_has_the_higher_box() -> None:
    lines = [sample("a", answer(1.0 + n / 100), answer(3.0 + n / 100)) for n in range(20)]
    boxes = next(plot for plot in Page(html(report(*lines))).plots if "by step" in plot.get("aria-label", ""))
    old, new = boxes.findall("rect")
    assert float(new.get("y", "")) + float(new.get("height", "")) < float(old.get("y", ""))


@pytest.mark.parametrize(
    ("low", "high"), [(0.01, 0.1), (1e-9, 1e9), (0.3, 0.31), (0.3, 0.36), (1, 1.2), (0.8, 1.3), (5, 70), (1e-3, 40)]
)
def test_axes_have_a_few_round_ticks_within(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 8
    assert found == sorted(found)
    assert all(low * (1 - 1e-9) <= one <= high * (1 + 1e-9) for one in found)
    assert all(abs(float(f"{one:.3g}") - one) < 1e-9 * one for one in found)


def test_quantiles_are_values_that_were_seen() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0, 0.25, 0.5, 0.51, 1)] == [1, 1, 2, 3, 4]


def test_twenty_thousand_samples_stay_under_a_mebibyte() -> None:
    assert len(html(report(*many(20_000))).encode()) < MEBIBYTE
    unlike = [
        sample(f"case-{n} {'x' * 90}", failed(*("y" * 300 + f"{n} {m}" for m in range(6))), error(f"{n}" * 50))
        for n in range(20_000)
    ]
    long = report(*unlike)
    long["steps"] = [step(n, "shifting", 30) for n in range(2000)]
    long["history"] = [{"at": "now", "sentence": "z" * 500} for _ in range(2000)]
    page = html(long)
    assert len(page.encode()) < MEBIBYTE
    assert "19700 more cases" in page
    assert "The first 1700 steps are left out." in page
    assert "The first 1700 entries are left out." in page


def test_whatever_is_missing_or_strange_there_is_a_page_without_impossible_numbers() -> None:
    for seed in range(3):
        whole = report(*many(12, seed), {"step": 3, "skipped": ["long"]})
        for one in spoiled(whole, 80, seed):
            page = Page(html(one))
            assert all(math.isfinite(number) for number in page.figures())
            assert not re.search(r"\b(nan|inf|None|NaN)\b", page.text), one


def test_times_that_cannot_be_are_left_out() -> None:
    strange = [0, -1, float("nan"), float("inf"), "1", True, None, 10**400, 1e12]
    lines = [sample("a", answer(), {**answer(), **dict.fromkeys(TIMES, value)}) for value in strange]
    assert text(report(*lines)).count("No pair has this time on both sides yet.") == 3


def test_what_is_no_sample_is_no_answer() -> None:
    assert asked([None, 3, [], {}, {"old": 1, "new": "x"}, {"step": 2, "skipped": []}]) == []
    only = Asked(None, "without a name", False, True, None, asked([{"new": answer()}])[0].new)
    assert asked([{"new": answer()}]) == [only]
