"""One case put to a real engine over loopback: times, every way of not answering, and no text in what is kept."""

import socket
import threading
import time
from dataclasses import asdict
from typing import Any

import pytest

from tandem.domain.case_expect import Expect
from tandem.domain.cases import Bound, Case, Message
from tandem.domain.paired import Sample
from tandem.hostside.ask_case import ask_case, sample
from tests.unit.case_engine import KEY, MODEL, Temper, engine

CAPITAL = {"Capital?": "It is Ottawa for sure"}


def case(question: str = "Capital?", kind: str = "answer", stream: bool = True, **more: Any) -> Case:
    expect = more.pop("expect", Expect(contains=("Ottawa",)))
    return Case("x", kind, (Message("user", question, expect=expect),), {"stream": stream, "max_tokens": 64}, **more)


def asked(temper: Temper, one: Case, seconds: float = 5) -> Sample:
    with engine(temper) as port:
        return sample(one, ask_case(one, port, MODEL, KEY, seconds))


def test_a_right_answer_has_its_times_and_nothing_else() -> None:
    temper = Temper({"Capital?": "It is Ottawa" + " indeed" * 18}, first_token_seconds=0.2, gap_seconds=0.02)
    found = asked(temper, case())
    assert (found.error, found.failed) == (None, ())
    # Twenty gaps; the upper bounds leave room for a busy machine.
    assert 0.2 <= (found.first_token_seconds or 0) < 1
    assert 0.018 <= (found.token_gap_seconds or 0) < 0.2
    assert 0.58 <= (found.total_seconds or 0) < 4
    counted = {"stream_options": {"include_usage": True}}
    sent = {"model": MODEL, "messages": 0, "stream": True, "max_tokens": 64} | counted
    assert temper.asked[0] | {"messages": 0} == sent


@pytest.mark.parametrize(
    ("event_words", "counts", "least_gap_seconds"),
    [
        (1, None, 0.02),
        (4, None, 0.02),
        (20, None, 0.02),
        # Without a count, or with one that can't be, an event is a token.
        (4, 0, 0.08),
        (4, 3, 0.08),
    ],
)
def test_the_time_between_tokens_does_not_depend_on_how_many_come_at_once(
    event_words: int, counts: int | None, least_gap_seconds: float
) -> None:
    temper = Temper({"Capital?": "It is Ottawa" + " indeed" * 38}, gap_seconds=0.02)
    temper.event_words, temper.counts = event_words, counts
    found = asked(temper, case())
    assert (found.error, found.failed) == (None, ())
    # A moment less: an event is read a little later than it is sent. The upper bound is for a busy machine.
    assert 0.9 * least_gap_seconds <= (found.token_gap_seconds or 0) < 2.5 * least_gap_seconds


def test_the_time_between_tokens_is_a_mean_over_the_answers() -> None:
    turns = tuple(Message("user", f"Q{n}?") for n in range(2))
    temper = Temper({"Q0?": "a b c d e f g h i", "Q1?": "a"}, gap_seconds=0.05, event_words=4)
    found = asked(temper, Case("x", "conversation", turns, {"stream": True}))
    assert 0.045 <= (found.token_gap_seconds or 0) < 0.15


def test_a_stream_in_one_piece_has_no_time_between_tokens() -> None:
    found = asked(Temper({"Capital?": "Ottawa"}, counts=9), case())
    assert (found.error, found.failed, found.token_gap_seconds) == (None, (), None)


def test_an_answer_that_is_not_streamed_has_a_total_time_only() -> None:
    found = asked(Temper(CAPITAL, first_token_seconds=0.1), case(stream=False))
    assert found == Sample(total_seconds=found.total_seconds)
    assert 0.1 <= (found.total_seconds or 0) < 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("ending", "status", "error"),
    [
        ("cut", 200, "cut"),
        ("no head", 200, "cut"),
        ("no answer", 200, "timeout"),
        ("whole", 500, "status 500"),
        ("whole", 503, "status 503"),
    ],
)
def test_an_answer_that_does_not_come_is_an_error_of_its_kind(
    ending: str, status: int, error: str, stream: bool
) -> None:
    limit = 0.5 if error == "timeout" else 10
    assert asked(Temper(CAPITAL, ending=ending, status=status), case(stream=stream), limit) == Sample(error=error)


@pytest.mark.parametrize(
    ("ending", "error"),
    [("hang", "timeout"), ("drip", "timeout"), ("garbage", "malformed"), ("error", "error in stream")],
)
def test_a_stream_that_does_not_end_well_is_an_error_of_its_kind(ending: str, error: str) -> None:
    started = time.monotonic()
    assert asked(Temper(CAPITAL, ending=ending), case(), 0.5 if error == "timeout" else 10) == Sample(error=error)
    assert time.monotonic() - started < 5


def test_a_head_that_comes_byte_by_byte_does_not_keep_it_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    for _ in range(1000):
                        connection.sendall(b"H")
                        time.sleep(0.02)
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        told = ask_case(case(), server.getsockname()[1], MODEL, KEY, 0.4)
        took = time.monotonic() - started
        thread.join()
    assert told.error == "timeout"
    assert took < 5


def test_nobody_there_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert ask_case(case(), port, MODEL, KEY).error == "refused"


@pytest.mark.parametrize(
    ("temper", "words"),
    [
        (Temper({"Capital?": "It is Toronto"}), "lacks text 1 of contains"),
        (Temper(CAPITAL, model="another"), "names another model"),
        (Temper(CAPITAL, status=404), "has status 404"),
    ],
)
def test_a_wrong_answer_is_no_error_and_says_what_is_wrong(temper: Temper, words: str) -> None:
    found = asked(temper, case())
    assert found.error is None
    assert words in found.failed[0]
    assert (found.total_seconds is None) == (temper.status == 404)


def test_no_word_of_question_and_answer_is_kept() -> None:
    temper = Temper({"xyzzy?": "plugh " * 30})
    found = asked(temper, case("xyzzy?", expect=Expect(contains=("frobnitz",), max_characters=3)))
    assert len(found.failed) == 2
    assert not any(word in str(asdict(found)) for word in ("xyzzy", "plugh", "frobnitz"))


def test_a_refusal_that_is_due_is_right_and_has_no_times() -> None:
    bad = case(kind="error", expect=Expect(error_status=(400, 422)), bad_request={"max_tokens": 0})
    temper = Temper()
    assert asked(temper, bad) == Sample()
    assert temper.asked[0].keys() == {"model", "messages", "stream", "max_tokens"}
    taken = case(kind="error", expect=Expect(error_status=(400,)), bad_request={"max_tokens": 9})
    found = asked(Temper(), taken)
    assert "has status 200 where a bad request is due 400" in found.failed[0]
    assert found.total_seconds is None


def test_a_conversation_goes_on_with_its_own_answers() -> None:
    turns = tuple(Message("user", f"Q{n}?", expect=Expect(contains=(f"A{n}",))) for n in range(10))
    long = Case("x", "conversation", turns, {"stream": True})
    temper = Temper({f"Q{n}?": f"A{n} and more" for n in range(10)}, first_token_seconds=0.1)
    found = asked(temper, long)
    assert (found.error, found.failed) == (None, ())
    # A mean over the answers, not their sum.
    assert 0.1 <= (found.first_token_seconds or 0) < 0.6
    assert [message["content"] for message in temper.asked[2]["messages"]] == [
        "Q0?", "A0 and more", "Q1?", "A1 and more", "Q2?"
    ]  # fmt: skip
    temper.status, temper.asked[:] = 404, []
    assert "answer 2 of 10 is missing" in asked(temper, long).failed
    assert len(temper.asked) == 1


def test_too_late_is_a_wrong_answer_and_much_too_late_an_error() -> None:
    limited = case(total_seconds=Bound(0.1, 1.0))
    late = asked(Temper(CAPITAL, first_token_seconds=1.1), limited, 60)
    assert late.error is None
    assert "took 1." in late.failed[0]
    assert asked(Temper(CAPITAL, first_token_seconds=3.0), limited, 60) == Sample(error="timeout")
