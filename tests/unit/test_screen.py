"""The status screen: a person sees what is so, and what is not known is never shown as known."""

import copy
from typing import Any

import pytest

from tandem.domain.screen import NARROWEST, lines
from tests.unit.spoiling import spoiled


def status(**changed: Any) -> dict[str, Any]:
    """A rollout at 30 % with a fresh guard."""
    blue = {"release": "a", "digest": "0a1b2c3d", "engine_ports": [18100, 18101], "asked": [18100], "weight": 70}
    green = {"release": "b", "digest": "9f8e7d6c", "engine_ports": [18200, 18201], "asked": [18201], "weight": 30}
    swap = {"old": "blue", "new": "green", "cards": [0, 1], "strategy": "take-turns", "convert_at": "soak_end"}
    pacing = {"weights": [10, 30, 50, 100], "window_seconds": 86400, "soak_seconds": 259200, "most_extensions": 3}
    rollout = {
        "swap": swap, "pacing": pacing, "phase": "shifting", "weight": 30, "spent_seconds": 3600.0, "held": None,
        "lean": None, "id": "r1", "who": "ann@desk", "step": 3, "why": "",
    }  # fmt: skip
    engines = {
        "vllm-blue-0": {"ready": True, "fault": "", "running": 3, "waiting": 2, "tokens": 777777},
        "vllm-green-1": {"ready": False, "fault": "three refused probes", "running": 0, "waiting": 0, "tokens": 5},
    }
    guard = {
        "boot_seconds": 89999.0,
        "doing": "comparing both sides",
        "engines": engines,
        "verdict": {"outcome": "inconclusive", "reasons": ["answers: 31 pairs of 50"], "results": []},
        "traffic": {
            "blue": {"requests": 1203, "failures": 41, "typical_seconds": 1.234},
            "green": {"requests": 517, "failures": 0, "typical_seconds": None},
        },
        "next": "50 % in 23 h at the earliest",
    }
    whole = {
        "schema": 2,
        "state": "shifting",
        "serving": "blue",
        "slots": {"blue": {**blue, "start_seconds": 93.0}, "green": {**green, "start_seconds": None}},
        "webui": {"slot": "blue", "port": 18300},
        "held": None,
        "rollout": rollout,
        "past": None,
        "guard": guard,
        "guard_age_seconds": 2.0,
        "cards": [{"index": 1, "name": "RTX 4090 D", "memory_used_mib": 20480, "memory_total_mib": 24564}],
        "lock_holder": None,
        "split_differs": {},
        "backup": {"warnings": [], "record": {"at": "2026-11-21T03:00:00+00:00", "where": "/srv/backups"}},
        "now_boot_seconds": 90000.0,
        "serving_since": "2026-11-01T10:00:00Z",
    }
    return {**whole, **changed}


def rollout(**changed: Any) -> dict[str, Any]:
    return {**status()["rollout"], **changed}


def guard(**changed: Any) -> dict[str, Any]:
    return {**status()["guard"], **changed}


def idle(**changed: Any) -> dict[str, Any]:
    whole = status(state="idle", rollout=None, **changed)
    whole["slots"] = {"blue": {**whole["slots"]["blue"], "weight": 100, "asked": [18100, 18101]}}
    return whole


def said(**changed: Any) -> str:
    """All in one line, so that a wrapped sentence is found."""
    return " ".join(" ".join(lines(status(**changed))).split())


def row(shown: list[str], first: str) -> list[str]:
    return next(line.split() for line in shown if line.split()[:1] == [first])


def test_both_sides_are_shown_with_share_traffic_and_phase() -> None:
    shown = lines(status())
    assert row(shown, "blue") == ["blue", "a", "0a1b2c3d", "old", "70", "%", "1203", "41", "1.23", "s"]
    assert row(shown, "green") == ["green", "b", "9f8e7d6c", "new", "30", "%", "517", "0", "unknown"]
    assert shown[0].split()[1:7] == ["release", "a", "in", "blue", "(70", "%,"]
    text = said()
    assert "shifting, for 1 h 0 min (begun by ann@desk)" in text
    assert "next 50 % in 23 h at the earliest" in text
    assert "compared not decided yet: answers: 31 pairs of 50" in text


def test_engines_cards_webui_and_backup_are_shown() -> None:
    shown = lines(status())
    assert row(shown, "vllm-blue-0") == ["vllm-blue-0", "yes", "ready", "3", "2"]
    assert row(shown, "vllm-blue-1") == ["vllm-blue-1", "no", "unknown"]
    assert row(shown, "vllm-green-1") == ["vllm-green-1", "yes", "BROKEN", "0", "0", "three", "refused", "probes"]
    assert row(shown, "1") == ["1", "RTX", "4090", "D", "20.0", "GiB", "24.0", "GiB", "83", "%"]
    assert row(shown, "WebUI")[1:] == ["blue,", "port", "18300"]
    assert row(shown, "backup")[1:] == ["made", "2026-11-21", "03:00", "UTC,", "in", "/srv/backups"]


@pytest.mark.parametrize("ready", [None, "false", 1])
def test_an_engine_is_ready_only_if_the_guard_says_so(ready: Any) -> None:
    engines = {"vllm-blue-0": {"ready": ready, "fault": "", "running": 0, "waiting": 0}}
    shown = lines(status(guard=guard(engines=engines)))
    assert row(shown, "vllm-blue-0") == ["vllm-blue-0", "yes", "unknown", "0", "0"]
    assert "comes back at once" not in " ".join(shown)


def test_columns_stand_under_their_heads() -> None:
    shown = lines(status())
    head = next(line for line in shown if line.startswith("slot"))
    blue = next(line for line in shown if line.startswith("blue"))
    assert head.index("release") == blue.index("a ")
    assert head.index("requests") + len("requests") == blue.index("1203") + len("1203")


@pytest.mark.parametrize("age", [15.1, 3600, None, -1, "2"])
def test_a_silent_guard_is_called_so_and_its_figures_are_not_shown(age: Any) -> None:
    text = said(guard_age_seconds=age)
    for stale in (
        "1203",
        "41",
        "1.23 s",
        "three refused probes",
        " ready",
        "50 % in 23 h",
        "31 pairs",
        "comparing both",
    ):
        assert stale not in text
    assert "next unknown: nothing is heard of the guard" in text
    assert "(how long that takes is unknown)" in text
    assert ("SILENT for" in text) == (age in (15.1, 3600))


def test_a_guard_that_is_just_fresh_enough_is_believed() -> None:
    assert "SILENT" not in said(guard_age_seconds=15)
    assert "1203" in said(guard_age_seconds=15)


def test_a_guard_that_nobody_saw_is_not_called_silent() -> None:
    assert "guard not seen" in said(guard=None, guard_age_seconds=None)


def test_the_next_step_follows_from_the_pacing_when_the_guard_does_not_say() -> None:
    fresh = guard(next="")
    assert "next 50 % in 23 h 0 min at the earliest, if the comparison passes" in said(guard=fresh)
    assert "next soaking in" in said(guard=fresh, rollout=rollout(weight=100))
    assert "next the old release is freed in 71 h 0 min" in said(guard=fresh, rollout=rollout(phase="soaking"))
    assert "next as soon as the comparison has seen" in said(guard=fresh, rollout=rollout(phase="comparing"))
    assert "next unknown" in said(guard=fresh, rollout=rollout(phase="rolling_back"))
    assert "next nothing by itself: it is held" in said(guard=fresh, rollout=rollout(held="ann waits"))


def test_a_hold_says_why_and_how_to_go_on() -> None:
    text = said(rollout=rollout(held="no verdict after 90000 s"))
    assert "HELD no verdict after 90000 s. To go on: pyinfra INVENTORY deploys/upgrade.py -y --data move=resume" in text
    assert "HELD" not in said()


@pytest.mark.parametrize(("phase", "undo"), [("rolling_back", False), ("finishing", True)])
def test_an_end_that_does_not_come_says_what_to_do(phase: str, undo: bool) -> None:
    text = said(rollout=rollout(phase=phase, held="no progress for 35 min 0 s: vllm-blue-0 does not run"))
    assert "STUCK no progress for 35 min 0 s: vllm-blue-0 does not run. Mend that, then it goes on by itself" in text
    assert ("Or undo it: pyinfra INVENTORY deploys/rollback.py" in text) == undo
    assert "move=resume" not in text


def test_a_dead_old_side_is_said() -> None:
    assert "LEANS release b in green has all requests: the other side is dead" in said(rollout=rollout(lean="green"))
    text = said(rollout=rollout(lean="green", held="the old release is dead"))
    assert "To go on: mend the side that is dead, then pyinfra INVENTORY deploys/upgrade.py -y" in text


def test_nothing_that_is_asked_is_said_loudly() -> None:
    slots = {name: {**slot, "weight": 0, "asked": []} for name, slot in status()["slots"].items()}
    assert lines(status(slots=slots))[0].startswith("serves    NOTHING is asked right now")


def test_the_way_back_is_as_fast_as_the_old_engines_are_ready() -> None:
    assert "rollback.py -y (the old release is ready, its traffic comes back at once)" in said()
    engines = {"vllm-green-1": {"ready": True, "fault": "", "running": 0, "waiting": 0}}
    assert "the old release has to start first, it took 1 min 33 s to start when" in said(guard=guard(engines=engines))
    slots = copy.deepcopy(status()["slots"])
    slots["blue"]["start_seconds"] = None
    assert "has to start first, for how long is unknown" in said(guard=guard(engines=engines), slots=slots)
    assert "rollback.py" not in said(rollout=rollout(phase="rolling_back"))


@pytest.mark.parametrize(
    ("outcome", "words", "once_more"),
    [("finished", "to bring it back", ""), ("undone", "to try it again", " --data again=true")],
)
def test_the_release_that_does_not_serve_can_be_had_again(outcome: str, words: str, once_more: str) -> None:
    past = {
        "id": "r0",
        "outcome": outcome,
        "why": "it was slow",
        "at": "2026-11-02",
        "release": "z",
        "start_seconds": 61,
    }
    text = " ".join(" ".join(lines(idle(past=past))).split())
    assert "2026-11-02" in text
    assert ": it was slow" in text
    command = f"pyinfra INVENTORY deploys/upgrade.py -y --data release=z{once_more}"
    assert f"{words}: {command} (it took 1 min 1 s to start" in text
    named = " ".join(lines(idle(past={**past, "release": "2026.10"})))
    assert 'release="2026.10"\'' in named, "pyinfra reads a bare 2026.10 as the number 2026.1"
    assert words not in said(past=past), "no other upgrade is offered while one is under way"


def test_an_idle_host_is_short() -> None:
    shown = lines(idle(guard=guard(engines={}, verdict=None)))
    assert shown[0] == "serves    release a in blue (all requests, serving since 2026-11-01 10:00 UTC)"
    assert not {"next", "undo", "upgrade", "compared", "green"} & {line.split()[0] for line in shown if line}


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ("2026-11-01T10:00:59.123+02:00", "since 2026-11-01 08:00 UTC)"),
        ("2026-11-01T10:00:00", "since 2026-11-01T10:00:00)"),
        ("0001-01-01T00:00:00+14:00", "since 0001-01-01T00:00:00+14:00)"),
        ("yesterday", "since yesterday)"),
    ],
)
def test_dates_are_shown_in_utc_where_their_zone_is_known(at: str, shown: str) -> None:
    assert shown in said(serving_since=at)


def test_boot_seconds_are_said_as_a_span() -> None:
    assert "serving for 24 h 0 min" in said(serving_since=3600.0)
    assert "serving for" not in said(serving_since=90001.0)


def test_a_host_before_its_first_install_says_how_to_begin() -> None:
    text = " ".join(lines({"serving": None, "slots": {}, "webui": None, "rollout": None}))
    assert "nothing yet. To begin: pyinfra INVENTORY deploys/install.py" in text


@pytest.mark.parametrize("swap", [{"old": {}, "new": []}, {"old": None}, None, 3])
def test_sides_that_are_not_named_stay_unnamed(swap: Any) -> None:
    assert row(lines(status(rollout=rollout(swap=swap))), "blue")[:4] == ["blue", "a", "0a1b2c3d", "70"]


def test_no_record_is_unknown() -> None:
    assert "unknown: the host gave no record" in lines({})[0]


@pytest.mark.parametrize(
    ("backup", "words"),
    [
        ({"warnings": ["the last backup is 30 h old"], "record": {}}, "backup WARNING: the last backup is 30 h old"),
        ({"warnings": ["there are no backups: give", "more"]}, "backup WARNING: there are no backups: give; more"),
        ({"warnings": [], "record": {"where": "/b"}}, "backup unknown, in /b"),
        (None, "backup unknown"),
    ],
)
def test_a_backup_that_is_old_or_missing_is_said(backup: Any, words: str) -> None:
    assert words in said(backup=backup)


def test_a_part_that_was_not_given_has_no_line() -> None:
    whole = status()
    for key in ("backup", "webui", "cards"):
        del whole[key]
    text = " ".join(lines(whole))
    assert not any(word in text for word in ("backup", "WebUI", "4090", "changing"))


def test_a_changed_split_and_who_changes_something_are_said() -> None:
    text = said(split_differs={"engine.conf": "missing"}, lock_holder="bob (process 7, since 10:00), to move")
    assert "WRONG engine.conf is missing: run install again" in text
    assert "changing bob (process 7, since 10:00), to move" in text


def test_nothing_that_steers_a_terminal_is_printed() -> None:
    text = "\n".join(lines(status(lock_holder="\x1b[31mred\x07\rbob \u202e \u4e2d")))
    assert "\x1b" not in text
    assert "[31mred bob ?" in text


@pytest.mark.parametrize("width", [NARROWEST, 100, 160])
def test_lines_are_ascii_and_fit(width: int) -> None:
    long = status(lock_holder="x " * 300)
    long["slots"]["blue"].update(release="r" * 70, digest="d" * 64)
    long["guard"]["engines"]["vllm-green-1"]["fault"] = "refused " * 40
    long["guard"]["traffic"]["blue"]["requests"] = 123456789012
    shown = lines(long, width)
    assert max(map(len, shown)) <= width
    assert all(line.isascii() and line == line.rstrip() for line in shown)
    assert row(shown, "blue")[-5:] == ["%", "123456789012", "41", "1.23", "s"], "figures are never cut"


def test_one_screen_is_enough() -> None:
    past = {"id": "r0", "outcome": "finished", "why": "", "at": "2026-11-02", "release": "z", "start_seconds": 61}
    assert len(lines(status(past=past, rollout=rollout(held="no verdict")))) <= 40


def test_whatever_is_missing_or_strange_there_is_a_screen() -> None:
    for seed in range(3):
        for one in spoiled(status(), 400, seed):
            shown = lines(one)
            assert shown
            assert max(map(len, shown)) <= 100
            assert all(line.isascii() and line.isprintable() for line in shown), one
            assert not any(word in " ".join(shown).split() for word in ("None", "nan", "inf"))
