"""The engine with knobs: right where it is left alone, wrong in the way of each knob, and what is packed of it."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import openai
import pytest

from tandem.config.case_files import read
from tandem.config.engine_options import check_variable
from tandem.domain.cases import Case, evaluate
from tandem.hostside.ask_case import Told, ask_case
from tandem.rehearsal import images, knobs
from tandem.rehearsal.model import QUESTIONS
from tandem.rehearsal.packages import SITE_PACKAGES
from tandem.rehearsal.programs.knobs.settings import Knobs, from_environment, variables
from tandem.rehearsal.recipes import ENGINE, WEBUI
from tests.faults.bad_releases import KINDS, PHASES, ROOT, cases, write
from tests.faults.trial import KEY, MODEL, known, listening, started
from tests.unit.nginx_process import ask, connect, eventually

QUICK = Knobs(first_seconds=0.002, gap_seconds=0.0002)


@cache
def shipped() -> dict[str, Case]:
    return {case.name: case for case in known([*read([ROOT / "cases"]), *read([ROOT / "cases/rehearsal"])[:3]])}


def told(port: int, name: str) -> Told:
    return ask_case(shipped()[name], port, MODEL, KEY, 3.0)


def wrong(port: int, name: str) -> str:
    """What is wrong with the answers to a case; the kind of error where one came instead."""
    found = told(port, name)
    return found.error or "; ".join(evaluate(shipped()[name], found.transcript))


def client(port: int, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0, timeout=10)


def metric(port: int, name: str) -> float:
    lines = ask(port, "/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{"))


@pytest.fixture(scope="module")
def good() -> Iterator[int]:
    with listening(QUICK) as port:
        yield port


def test_a_good_engine_answers_every_shipped_case_right(good: int) -> None:
    assert {name: why for name in shipped() if (why := wrong(good, name))} == {}


def test_a_good_engine_answers_every_case_and_question_of_the_rehearsal_right(good: int) -> None:
    for case in known(read([ROOT / "cases/rehearsal"])):
        found = ask_case(case, good, MODEL, KEY, 3.0)
        assert (found.error, evaluate(case, found.transcript)) == (None, ()), case.name
    with client(good) as one:
        for row in json.loads(QUESTIONS.read_text()):
            asked = [{"role": "user", "content": row["question"]}]
            answer = one.chat.completions.create(model=MODEL, messages=asked)  # type: ignore[arg-type]
            assert answer.choices[0].message.content == row["answer"]


def test_the_official_client_gets_streams_tool_calls_and_texts(good: int) -> None:
    with client(good) as one:
        hello = [{"role": "user", "content": "something else"}]
        body = {"ignore_eos": True}
        parts = list(
            one.chat.completions.create(  # type: ignore[call-overload]
                model=MODEL, messages=hello, max_tokens=5, stream=True, extra_body=body,
                stream_options={"include_usage": True},
            )
        )  # fmt: skip
        assert "".join(part.choices[0].delta.content for part in parts[:-1]) == "0 1 2 3 4 "
        assert (parts[0].choices[0].delta.role, parts[-2].choices[0].finish_reason) == ("assistant", "length")
        assert (parts[-1].choices, parts[-1].usage.completion_tokens) == ([], 5)
        counted = one.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "count"}], max_completion_tokens=3
        )
        assert counted.choices[0].message.content == "0 1 2 "
        schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
        tool = {"type": "function", "function": {"name": "count", "parameters": schema}}
        called = one.chat.completions.create(model=MODEL, messages=hello, tools=[tool], tool_choice="required")  # type: ignore[call-overload]
        assert called.choices[0].message.tool_calls[0].function.arguments == '{"n": 1}'
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        filled = one.chat.completions.create(model=MODEL, messages=hello, response_format=form)  # type: ignore[call-overload]
        assert json.loads(filled.choices[0].message.content) == {"n": 1}
        text = one.completions.create(model=MODEL, prompt="count", max_tokens=3)
        assert (text.choices[0].text, text.choices[0].finish_reason) == ("0 1 2 ", "length")


def test_errors_are_those_that_the_official_client_has_names_for(good: int) -> None:
    with client(good) as one, pytest.raises(openai.NotFoundError):
        one.chat.completions.create(model="other", messages=[{"role": "user", "content": "Hello"}])
    with client(good, "sk-of-nobody") as one, pytest.raises(openai.AuthenticationError):
        one.models.list()
    with client(good) as one, pytest.raises(openai.BadRequestError):
        one.chat.completions.create(model=MODEL, messages=[])
    assert ask(good, "/v1/models").status == 401
    assert (ask(good, "/health").status, ask(good, "/other").status) == (200, 404)


def test_the_model_tells_its_context_and_counters_tell_what_was_done() -> None:
    with started(QUICK, "--max-model-len", "4096") as process:
        port = port_of(process)
        with client(port) as one:
            assert one.models.list().data[0].model_dump()["max_model_len"] == 4096
        assert wrong(port, "gold-symbol") == ""
        assert wrong(port, "error-unknown-model") == ""
        names = ("prompt_tokens_total", "generation_tokens_total", "request_success_total", "num_requests_running")
        seen = [metric(port, f"vllm:{name}") for name in names]
        assert seen[0] > 5
        assert seen[1:] == [1, 1, 0]
        text = ask(port, "/metrics").text
        assert 'http_requests_total{handler="/v1/chat/completions",method="POST",status="4xx"} 1.0' in text


def port_of(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(json.loads(process.stdout.readline())["port"])


def test_a_stream_is_finished_after_sigterm_and_nothing_new_is_taken() -> None:
    with started(Knobs(first_seconds=0.4)) as process:
        port = port_of(process)
        connection = connect(port)
        question = [{"role": "user", "content": "Count to sixty in words."}]
        body = json.dumps({"model": MODEL, "stream": True, "messages": question})
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"})
        eventually(lambda: metric(port, "vllm:num_requests_running"), 1.0)
        process.send_signal(signal.SIGTERM)
        text = connection.getresponse().read().decode()
        assert "sixty" in text
        assert text.rstrip().endswith("data: [DONE]")
        assert process.wait(5) == 0
        connection.close()


def test_it_waits_for_the_first_token_and_between_tokens_as_long_as_told() -> None:
    with listening(Knobs(first_seconds=0.1, gap_seconds=0.01, noise=0.0)) as port:
        found = told(port, "length-is-kept")
    first, gap = found.transcript.answers[0].first_token_seconds, found.token_gap_seconds
    assert first is not None
    assert gap is not None
    assert 0.1 <= first < 1
    assert 0.0099 <= gap < 0.1


SEEN: list[tuple[Knobs, str, str]] = [
    (Knobs(fail_share=1), "gold-symbol", "status 500"),
    (Knobs(health_lies=True), "gold-symbol", "status 500"),
    (Knobs(reset_share=1), "gold-symbol", "cut"),
    (Knobs(cut_share=1), "length-is-kept", "cut"),
    (Knobs(cut_share=1), "json-without-stream", "cut"),
    (Knobs(error_body_share=1), "json-without-stream", "is not a chat completion"),
    (Knobs(hang_after=0), "gold-symbol", "timeout"),
    (Knobs(no_done=True), "gold-symbol", "cut"),
    (Knobs(bad_events=True), "gold-symbol", "malformed"),
    (Knobs(other_model=True), "gold-symbol", "names another model"),
    (Knobs(other_role=True), "gold-symbol", "does not begin with the role assistant"),
    (Knobs(other_finish=True), "tool-weather", "does not finish with tool_calls"),
    (Knobs(one_piece=True), "length-is-kept", "in one piece"),
    (Knobs(bad_errors="format"), "error-no-messages", "is not an error with a message"),
    (Knobs(bad_errors="status"), "error-no-messages", "status 500"),
    (Knobs(bad_errors="ignored"), "error-no-messages", "has status 200"),
    (Knobs(gibberish_share=1), "gold-symbol", "lacks text"),
    (Knobs(empty_share=1), "gold-symbol", "lacks text"),
    (Knobs(wrong_share=1), "gold-symbol", "lacks text"),
    (Knobs(repeats=True), "stream-long", "lacks text"),
    (Knobs(other_language=True), "english-to-english", "language en"),
    (Knobs(other_language=True), "german-to-german", "language de"),
    (Knobs(bad_tool_arguments=True), "tool-weather", "can't be parsed"),
    (Knobs(other_tool=True), "tool-weather", "calls another tool"),
    (Knobs(bad_json=True), "json-person", "lacks required key"),
    (Knobs(forgets=True), "ten-turns", "lacks text"),
    (Knobs(sees_characters=2000), "recall-2k-middle", "lacks text"),
]


@pytest.mark.parametrize(("knob", "name", "seen"), SEEN, ids=lambda value: value if isinstance(value, str) else "")
def test_each_knob_breaks_its_answer_and_nothing_else_of_the_engine(knob: Knobs, name: str, seen: str) -> None:
    with listening(replace(knob, first_seconds=0.002, gap_seconds=0.0002)) as port:
        assert seen in wrong(port, name)
        assert (ask(port, "/health").status, ask(port, "/metrics").status) == (200, 200)


HARMLESS = (
    Knobs(reworded=True), Knobs(words_per_event=3), Knobs(comments=True), Knobs(crlf=True), Knobs(more_fields=True),
    Knobs(role_everywhere=True), Knobs(spaced_json=True), Knobs(status_422=True),
)  # fmt: skip


def test_harmless_knobs_change_what_is_sent_and_leave_every_answer_right(good: int) -> None:
    names = ("summary", "json-person", "error-no-messages", "stream-long")
    usual = [shape(good, name) for name in names]
    for knob in HARMLESS:
        with listening(replace(knob, first_seconds=0.002, gap_seconds=0.0002)) as port:
            assert [shape(port, name) for name in names] != usual, variables(knob)
    together = {name: value for knob in HARMLESS for name, value in variables(knob).items()} | variables(QUICK)
    with listening(from_environment(together)) as port:
        assert {case.name: why for case in known(cases()) if (why := wrong(port, case.name))} == {}


def shape(port: int, name: str) -> list[str]:
    """The bytes of the answer, without the names and times that differ anyhow."""
    case = shipped()[name]
    connection = connect(port)
    asked = [{"role": one.role, "content": one.text} for one in case.messages]
    body = json.dumps({"model": MODEL, "messages": asked, **case.request, **case.bad_request})
    connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"})
    response = connection.getresponse()
    text = re.sub(r'cmpl-\w+|"created": \d+', "", response.read().decode())
    connection.close()
    return [str(response.status), text]


def test_an_engine_that_hangs_says_so_by_its_counters_only() -> None:
    with listening(replace(QUICK, hang_after=2)) as port:
        assert [wrong(port, name) for name in ("gold-symbol", "https-port", "multiplication")] == ["", "", "timeout"]
        before = metric(port, "vllm:generation_tokens_total")
        assert metric(port, "vllm:num_requests_running") == 1
        time.sleep(0.3)
        assert metric(port, "vllm:generation_tokens_total") == before
        assert ask(port, "/health").status == 200


def test_an_engine_whose_counters_stick_still_answers() -> None:
    with listening(replace(QUICK, stuck_counters=True)) as port:
        assert wrong(port, "gold-symbol") == ""
        assert metric(port, "vllm:generation_tokens_total") == metric(port, "vllm:prompt_tokens_total") == 0


def test_an_engine_dies_after_so_many_requests() -> None:
    with started(replace(QUICK, die_after=2)) as process:
        port = port_of(process)
        assert [wrong(port, "gold-symbol") for _ in range(3)] == ["", "", "cut"]
        assert process.wait(5) == 1


def test_an_engine_dies_at_start_or_never_listens() -> None:
    with started(Knobs(die_at_start=True)) as process:
        assert process.wait(5) == 1
    with started(Knobs(never_ready=True)) as process, pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    with started(Knobs(start_seconds=0.5)) as process:
        began = time.monotonic()
        assert port_of(process)
        assert time.monotonic() - began >= 0.5


def test_strangers_fail_and_known_questions_do_not() -> None:
    with listening(replace(QUICK, stranger_fail_share=1.0)) as port, client(port) as one:
        assert wrong(port, "gold-symbol") == ""
        with pytest.raises(openai.InternalServerError):
            one.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "nobody knows"}])


def seconds(port: int, name: str) -> float:
    found = told(port, name)
    return found.transcript.answers[0].total_seconds


TIMED: list[tuple[Knobs, Callable[[int], object]]] = [
    (Knobs(first_factor=30), lambda port: None),
    (Knobs(gap_factor=5), lambda port: None),
    (Knobs(leak_seconds=0.1), lambda port: [seconds(port, "length-is-kept") for _ in range(4)]),
    (Knobs(pause_share=1, pause_seconds=0.3), lambda port: None),
]


@pytest.mark.parametrize(("knob", "first"), TIMED, ids=[" ".join(variables(knob)) for knob, _ in TIMED])
def test_slow_engines_are_slow(knob: Knobs, first: Callable[[int], object]) -> None:
    with listening(replace(knob, noise=0.0)) as port:
        first(port)
        # 0.21 s without the knob.
        assert seconds(port, "length-is-kept") > 0.5


def test_company_makes_an_engine_slow_or_fail_where_it_is_told_so() -> None:
    pairs = ((Knobs(load_factor=20.0, noise=0.0), ""), (Knobs(busy_failures=True), "status 500"))
    for knob, expected in pairs:
        with listening(knob) as port, ExitStack() as stack:
            assert wrong(port, "gold-symbol") == ""
            alone = seconds(port, "gold-symbol")
            connection = stack.enter_context(client(port))
            stream = connection.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "anything"}], stream=True, max_tokens=1000,
                extra_body={"ignore_eos": True},
            )  # fmt: skip
            next(iter(stream))
            assert wrong(port, "gold-symbol") == expected
            assert expected or seconds(port, "gold-symbol") > alone + 0.1
            stream.close()


def test_what_happens_to_a_share_is_the_same_for_the_same_seed() -> None:
    def drawn(seed: int) -> list[str]:
        with listening(replace(QUICK, fail_share=0.5, seed=seed)) as port:
            return [wrong(port, "gold-symbol") for _ in range(20)]

    first = drawn(1)
    assert {"", "status 500"} == set(first)
    assert drawn(1) == first != drawn(2)


def test_an_unknown_knob_or_value_is_refused() -> None:
    for environment, word in (
        ({"KNOB_SLOWNESS": "1"}, "KNOB_SLOWNESS is no knob"),
        ({"KNOB_FAIL_SHARE": "2"}, "no share from 0 to 1"),
        ({"KNOB_DIE_AFTER": "1.5"}, "no whole number"),
        ({"KNOB_REPEATS": "yes"}, "neither 0 nor 1"),
        ({"KNOB_BAD_ERRORS": "all"}, "none of format, status, ignored"),
    ):
        with pytest.raises(ValueError, match=re.escape(word)):
            from_environment(environment)
    assert from_environment({"HOME": "/tmp"}) == Knobs()


def test_every_kind_of_bad_release_can_be_declared_and_has_a_twin_of_its_own() -> None:
    assert len(KINDS) >= 20
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert {kind.latest for kind in KINDS} == set(PHASES)
    for kind in KINDS:
        assert kind.bad != kind.twin
        for knob in (kind.bad, kind.twin):
            assert from_environment(variables(knob)) == knob
            assert all(check_variable(name) for name in variables(knob))
    # Every knob that makes something wrong is used by a kind, or is seen by itself above.
    turned = {name for kind in KINDS for knob in (kind.bad, kind.twin) for name in variables(knob)}
    assert {f"KNOB_{field.name.upper()}" for field in fields(Knobs)} - turned == {
        "KNOB_FIRST_SECONDS", "KNOB_GAP_SECONDS", "KNOB_NOISE", "KNOB_STUCK_COUNTERS",
    }  # fmt: skip


def test_cases_that_are_written_down_are_read_again_as_they_were(tmp_path: Path) -> None:
    write(cases(), tmp_path / "some.jsonl")
    assert known(read([tmp_path / "some.jsonl"])) == known(cases())
    assert 50 <= len(cases()) <= 65


def test_the_image_holds_what_the_engine_imports_and_reads(tmp_path: Path) -> None:
    for path, text in knobs.files():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    # Without the tree's own folder: nothing but the packed files can be found.
    import_it = ["-c", f"import {knobs.PROGRAM} as e; e.Engine(e.Knobs()); print(e.__file__)"]
    environment = {"PYTHONPATH": str(tmp_path / SITE_PACKAGES)}
    done = subprocess.run(
        ["/usr/bin/python3", "-S", *import_it], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith(str(tmp_path)), done.stderr


def test_another_program_makes_another_image_and_leaves_the_others() -> None:
    before = images._stamp(knobs.KNOBS), images._stamp(ENGINE, WEBUI)
    path, text = knobs.KNOBS.files[-1]
    changed = replace(knobs.KNOBS, files=(*knobs.KNOBS.files[:-1], (path, f"{text}\n")))
    assert images._stamp(changed) != before[0]
    assert before == (images._stamp(knobs.KNOBS), images._stamp(ENGINE, WEBUI))
