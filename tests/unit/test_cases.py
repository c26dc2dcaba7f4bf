"""Comparison cases: every assertion against a right answer, a harmless variation of it and a wrong one."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tandem.domain import case_answers, cases
from tandem.domain.case_answers import DONE
from tandem.domain.case_expect import Expect, ToolCall
from tandem.domain.case_json import mismatch
from tandem.domain.case_text import LANGUAGES, language_problem
from tandem.domain.cases import Answer, Bound, Case, Message, Transcript, body, evaluate, from_document, slow
from tandem.domain.haystack import Haystack
from tandem.domain.haystack import text as haystack_text

MODEL = "gpt-oss-20b"
ROOT = Path(cases.__file__).parents[2]
PERSON = {"type": "object", "required": ["name", "age"], "properties": {"age": {"type": "integer"}}}
PROSE = {
    "de": "Der Himmel ist blau, weil die Luft das blaue Licht der Sonne mehr streut als das rote.",
    "en": "The sky is blue because the air scatters the blue light of the sun more than the red.",
    "es": "El cielo es azul porque el aire dispersa la luz azul del sol más que la luz roja.",
    "fr": "Le ciel est bleu parce que l'air diffuse la lumière bleue du soleil plus que la lumière rouge.",
    "ru": "Небо голубое, потому что воздух рассеивает синий свет солнца сильнее, чем красный.",  # noqa: RUF001
    "zh": "天空是蓝色的,因为空气对太阳光中蓝光的散射比红光更强。",
}
OTHER_PROSE = {
    "it": "Il cielo è blu perché l'aria diffonde la luce blu del sole più della luce rossa.",
    "nl": "De hemel is blauw omdat de lucht het blauwe licht van de zon meer verstrooit dan het rode.",
    "pt": "O céu é azul porque o ar espalha a luz azul do sol mais do que a luz vermelha.",
    "uk": "Небо блакитне, тому що повітря розсіює синє світло сонця сильніше, ніж червоне.",  # noqa: RUF001
    "ja": "空が青いのは、空気が太陽の青い光を赤い光よりも強く散乱させるからです。",
    "ko": "하늘이 파란 이유는 공기가 태양의 푸른 빛을 더 많이 산란시키기 때문입니다.",
}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    found = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": MODEL, "choices": choices, **more}
    return json.dumps(found)


def stream(text: str, finish: str = "stop") -> list[str]:
    words = [word for part in text.split(" ") for word in (part, " ")][:-1]
    return [chunk({"role": "assistant", "content": ""}), *(chunk({"content": word}) for word in words),
            chunk({}, finish), DONE]  # fmt: skip


def calls(*wanted: tuple[str, str]) -> list[str]:
    """Each call as engines stream it: the name first, the arguments in pieces."""
    pieces = [chunk({"role": "assistant", "content": None})]
    for index, (name, arguments) in enumerate(wanted):
        function = {"name": name, "arguments": ""}
        pieces.append(chunk({"tool_calls": [{"index": index, "id": f"call-{index}", "function": function}]}))
        for piece in arguments:
            pieces.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    return [*pieces, chunk({}, "tool_calls"), DONE]


def whole(text: str, **more: Any) -> str:
    choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
    return json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "model": MODEL, "choices": choices, **more})


def answered(pieces: list[str], status: int = 200) -> Answer:
    return Answer(status, tuple(pieces), 1.0, 0.1)


def case(expect: Expect, **more: Any) -> Case:
    return Case("x", "answer", (Message("user", "Question?", expect=expect),), {"stream": True}, **more)


def wrong(expect: Expect, pieces: list[str], status: int = 200) -> tuple[str, ...]:
    return evaluate(case(expect), Transcript(MODEL, (answered(pieces, status),)))


# Each: what is expected, answers that hold it (the first plain, the others harmless variations), answers that don't.
TEXTS: dict[str, tuple[Expect, list[str], list[str]]] = {
    "contains": (
        Expect(contains=("Ottawa", "fifty-six")),
        [
            "Ottawa and fifty-six.",
            "It is OTTAWA,\n and  fifty\u2011six!",
            "**Ottawa** (fifty\u2013six)",
            "Fifty-six? `ottawa`",
        ],
        ["Toronto and fifty-six.", "Ottawas fifty-six"],
    ),
    "contains a number": (
        Expect(contains=("4",)),
        ["4", "It is 4.", "x=4, y", "答案是4个。"],
        ["14", "4.5", "1,4", "44"],
    ),
    "contains in Chinese": (Expect(contains=("巴黎",)), ["首都是巴黎。"], ["首都是里昂。"]),
    "contains_any": (Expect(contains_any=("42", "forty-two")), ["42", "It is Forty\u2010Two."], ["43", "forty"]),
    "not_contains": (Expect(not_contains=("8", "eight")), ["eleven", "eighty, 18"], ["It is eight.", "8 or 11"]),
    "regex": (
        Expect(regex=(r"\A- .+\n- .+\Z",)),
        ["- a\n- b", "  - A  b \r\n- c  "],
        ["- a", "- a\n- b\n- c", "Sure:\n- a\n- b"],
    ),
    "regex in any case": (Expect(regex=(r"\bselect\s+count\b",)), ["SELECT  COUNT(*)", "select\tcount"], ["select *"]),
    "json_schema": (
        Expect(json_schema=PERSON),
        ['{"name":"Maria","age":34}', ' {\n "age" : 34.0,\t"name": "M", "more": [] }\n'],
        ['{"name":"Maria"}', '{"name":"M","age":"34"}', '{"name":"M","age":true}', "[1]", '{"name":', "NaN",
         '```json\n{"name":"M","age":3}\n```', "[ " * 5000],
    ),
    "any JSON": (Expect(json_schema={}), ["[]", " null"], ["Infinity", "yes"]),
    "min_characters": (Expect(min_characters=5), ["12345", " 12345\n"], ["1234", "1234     "]),
    "max_characters": (Expect(max_characters=5), ["12345", "\n 12345 \n"], ["123456"]),
    **{
        f"language {name}": (
            Expect(language=name),
            [text, text.upper(), text.replace(" ", "\n"), f"{text}\n```python\nfor x in the_of: pass\n```"],
            [*(other for key, other in PROSE.items() if key != name), *OTHER_PROSE.values(), "42", ""],
        )
        for name, text in PROSE.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_right_answer_and_its_harmless_variations_hold_and_a_wrong_one_does_not(name: str) -> None:
    expect, right, bad = TEXTS[name]
    for text in right:
        assert wrong(expect, stream(text)) == (), text
    for text in bad:
        assert len(wrong(expect, stream(text))) == 1, text


def test_every_language_is_told_from_every_other() -> None:
    assert set(PROSE) == set(LANGUAGES)
    for language in LANGUAGES:
        held = [name for name, text in {**PROSE, **OTHER_PROSE}.items() if language_problem(text, language) is None]
        assert held == [language]


def test_foreign_names_and_terms_do_not_change_a_language() -> None:
    assert language_problem("Die Hauptstadt von Frankreich ist Paris, und die von Canada ist Ottawa.", "de") is None
    assert language_problem("vLLM 是一个用于大语言模型推理的开源引擎,由 Berkeley 开发。", "zh") is None


WEATHER = Expect(tool_call=ToolCall("get_weather", {"type": "object", "required": ["city"],
                                                    "properties": {"city": {"enum": ["Oslo"]}}}))  # fmt: skip


def test_a_tool_call_is_one_call_by_name_with_fitting_arguments() -> None:
    assert wrong(WEATHER, calls(("get_weather", '{"city":"Oslo"}'))) == ()
    assert wrong(WEATHER, calls(("get_weather", '{ "unit": "celsius",\n "city": "Oslo" }'))) == ()
    for bad in (
        calls(),
        calls(("get_time", '{"city":"Oslo"}')),
        calls(("get_weather", '{"city":"Oslo"')),
        calls(("get_weather", '{"town":"Oslo"}')),
        calls(("get_weather", '{"city":"Lima"}')),
        calls(("get_weather", '{"city":"Oslo"}'), ("get_weather", '{"city":"Oslo"}')),
        stream("It is sunny in Oslo."),
    ):
        assert len(wrong(WEATHER, bad)) == 1


def test_a_finish_reason_is_the_expected_one() -> None:
    assert wrong(Expect(finish_reason="length"), stream("one two", "length")) == ()
    assert wrong(Expect(finish_reason="length"), stream("one two")) == ("answer 1 does not finish with length",)


def test_the_model_is_the_one_that_was_asked() -> None:
    assert wrong(Expect(), stream("a")) == ()
    other = [piece.replace(MODEL, "gpt-oss-120b") for piece in stream("a")]
    mixed = [other[0], *stream("a")[1:]]
    absent = [chunk({"role": "assistant", "content": "a"}, "stop", model=None), DONE]
    for bad in (other, mixed, absent):
        assert wrong(Expect(), bad) == ("answer 1 names another model than the one that was asked",)


USAGE = json.dumps({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": MODEL, "choices": [], "usage": {}})
BROKEN: dict[str, tuple[list[str], str]] = {
    "no end": (stream("a b")[:-1], "does not end with [DONE]"),
    "two ends": ([*stream("a"), DONE], "goes on after [DONE]"),
    "after the end": ([*stream("a"), chunk({"content": "b"}), DONE], "goes on after its finish reason"),
    "cut": ([*stream("a b c")[:4], DONE], "has no finish reason"),
    "no role": (stream("a b")[1:], "does not begin with the role"),
    "not JSON": ([*stream("a")[:1], "oops", *stream("a")[1:]], "not a chunk"),
    "another object": ([piece.replace("completion.chunk", "thing") for piece in stream("a")], "not a chunk"),
    "an error inside": ([*stream("a")[:2], '{"error": {"message": "m"}}', DONE], "carries an error"),
    "another id": ([*stream("a")[:2], *(p.replace("chatcmpl-1", "c-2") for p in stream("a")[2:])], "changes its id"),
    "one lump": ([chunk({"role": "assistant"}), chunk({"content": "x" * 500}), chunk({}, "stop"), DONE], "one piece"),
    "nothing": ([], "without a chunk"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_stream_that_breaks_its_form_is_named(name: str) -> None:
    pieces, why = BROKEN[name]
    assert any(why in sentence for sentence in wrong(Expect(), pieces))


def test_a_stream_may_carry_reasoning_usage_and_a_repeated_role() -> None:
    begun = [chunk({"role": "assistant", "content": ""}), chunk({"reasoning": "hm"}), chunk({"reasoning": None})]
    rest = [chunk({"role": "assistant", "content": "a"}), chunk({"content": ""}, "stop"), USAGE, DONE]
    assert wrong(Expect(contains=("a",)), [*begun, *rest]) == ()


def test_an_answer_in_one_body_is_read_too() -> None:
    one = replace(case(Expect(contains=("Ottawa",))), request={"stream": False})
    assert evaluate(one, Transcript(MODEL, (answered([whole("Ottawa.")]),))) == ()
    for bad in (whole("Toronto."), "", "[]", whole("Ottawa", choices=[]), whole("Ottawa", model="other")):
        assert evaluate(one, Transcript(MODEL, (answered([bad]),)))


ERROR = '{"error": {"message": "unknown model", "type": "NotFoundError", "param": null, "code": 404}}'
REFUSED = Expect(error_status=(404, 422))


def test_a_bad_request_answers_with_an_error_of_the_expected_form_and_status() -> None:
    assert wrong(REFUSED, [ERROR], 404) == ()
    assert wrong(REFUSED, [json.dumps(json.loads(ERROR), indent=4)], 422) == ()
    assert len(wrong(REFUSED, [ERROR], 500)) == 1
    for bad in (
        "",
        "<html>404</html>",
        '{"error": "no"}',
        '{"error": {"type": "t"}}',
        '{"error": {"message": "m"}}',
        '{"object": "error", "message": "m", "type": "t"}',
    ):
        assert len(wrong(REFUSED, [bad], 404)) == 1
    assert wrong(REFUSED, stream("Hello"), 200)


def test_an_error_in_place_of_an_answer_says_its_status_and_nothing_else() -> None:
    assert wrong(Expect(contains=("a",), language="de"), [ERROR], 503) == ("answer 1 has status 503",)


TALK = Case(
    "talk",
    "conversation",
    (
        Message("system", "Be brief."),
        Message("user", "Pick a colour."),
        Message("assistant", "Teal."),
        Message("user", "I am Ines."),
        Message("user", "Who am I?", expect=Expect(contains=("Ines",))),
    ),
    {"stream": True, "temperature": 0.0},
)


def test_later_turns_carry_the_answers_to_the_earlier_ones() -> None:
    first, second = body(TALK, MODEL, []), body(TALK, MODEL, ["Hello Ines."])
    assert TALK.turns == (3, 4)
    assert [message["role"] for message in first["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][4:] == [
        {"role": "assistant", "content": "Hello Ines."},
        {"role": "user", "content": "Who am I?"},
    ]
    assert (second["model"], second["temperature"], second["stream"]) == (MODEL, 0.0, True)


def test_each_turn_is_looked_at_and_a_missing_one_is_named() -> None:
    hello, known, unknown = (answered(stream(text)) for text in ("Hello.", "You are Ines.", "I do not know."))
    assert evaluate(TALK, Transcript(MODEL, (hello, known))) == ()
    assert evaluate(TALK, Transcript(MODEL, (hello, unknown))) == ("answer 2 lacks text 1 of contains",)
    assert evaluate(TALK, Transcript(MODEL, (hello,))) == ("answer 2 of 2 is missing",)
    assert evaluate(TALK, Transcript(MODEL, ())) == ("answer 1 of 2 is missing",)
    assert evaluate(TALK, Transcript(MODEL, (hello, known, known))) == ("there are 3 answers to 2 turns",)


def test_a_bad_request_is_laid_over_the_good_one() -> None:
    spoilt = case(REFUSED, bad_request={"model": "no-such-model", "max_tokens": -1})
    assert body(spoilt, MODEL, [])["model"] == "no-such-model"
    assert body(spoilt, MODEL, [])["max_tokens"] == -1


def test_a_haystack_is_the_same_everywhere_and_hides_its_needle_where_it_should() -> None:
    for position in (0.0, 0.25, 0.5, 1.0):
        made = haystack_text(Haystack(6000, "The code is 7341.", position, 3))
        assert made == haystack_text(Haystack(6000, "The code is 7341.", position, 3))
        assert made.count("7341") == 1
        assert made.index("The code") / len(made) == pytest.approx(position, abs=0.01)
        assert len(made.split()) * 1.1 == pytest.approx(6000, rel=0.01)
    assert haystack_text(Haystack(500, "N.", 0.5, 1)) != haystack_text(Haystack(500, "N.", 0.5, 2))
    assert haystack_text(Haystack(100, "N.", 0.0, 1)).startswith(
        "N. This kind doctor cleaned the green blanket under the hill. "
    )
    asked = body(replace(TALK, messages=(Message("user", "Which code?", Haystack(2000, "It is 7.", 0.5)),)), MODEL, [])
    assert asked["messages"][0]["content"].endswith("\n\nWhich code?")


def test_the_window_that_a_case_needs_covers_its_text_and_its_answers() -> None:
    needy = replace(
        TALK, messages=(Message("user", "Which?", Haystack(6000, "N.", 0.5)),), request={"max_tokens": 1024}
    )
    assert 7024 < needy.context_tokens < 7200


def test_slowness_is_told_apart_from_wrong_answers() -> None:
    timed = case(Expect(), first_token_seconds=Bound(0.3, 2), total_seconds=Bound(2, 10))

    def took(first: float | None, total: float) -> Transcript:
        return Transcript(MODEL, (replace(answered(stream("a")), first_token_seconds=first, total_seconds=total),))

    assert slow(timed, took(0.2, 1)) == slow(timed, took(2, 10)) == slow(timed, took(0.2, 1), "target") == ()
    assert slow(timed, took(3, 1)) == ("answer 1 took 3 s for its first token, the limit is 2 s",)
    assert slow(timed, took(1, 1), "target") == ("answer 1 took 1 s for its first token, the target is 0.3 s",)
    assert len(slow(timed, took(None, 11))) == 2
    for bad in (float("nan"), float("inf"), -1.0):
        assert slow(timed, took(bad, 1)) == ("answer 1 has no time of its first token",)
    assert evaluate(timed, took(3, 99)) == ()
    assert slow(case(Expect()), took(99, 99)) == ()


@pytest.mark.parametrize(
    ("schema", "right", "bad"),
    [
        ({"type": "integer"}, [1, 1.0, -5], [1.5, True, "1", None]),
        ({"type": "number"}, [1, 1.5], [False, "1"]),
        ({"type": "boolean"}, [True], [1, "true"]),
        ({"type": "null"}, [None], [0, ""]),
        ({"type": "array", "items": {"type": "string"}}, [[], ["a"]], [["a", 1], {}]),
        ({"enum": [1, "a", None]}, [1, 1.0, "a", None], [True, "A", 2]),
        (
            {"properties": {"a": {"type": "array", "items": {"required": ["b"]}}}},
            [{}, {"a": [{"b": 1}]}],
            [{"a": [{}]}],
        ),
    ],
)
def test_a_schema_takes_what_fits_and_nothing_else(schema: dict[str, Any], right: list[Any], bad: list[Any]) -> None:
    assert [mismatch(schema, value) for value in right] == [None] * len(right)
    assert None not in [mismatch(schema, value) for value in bad]


def test_no_sentence_repeats_a_word_of_prompt_answer_or_case() -> None:
    planted = "zebrafish"
    schema = {"required": [planted], "properties": {planted: {"enum": [planted]}}}
    expects = [
        Expect(contains=(planted,)), Expect(contains_any=(planted,)), Expect(regex=(f"^{planted}$",)),
        Expect(json_schema=schema), Expect(tool_call=ToolCall(planted, schema)), Expect(min_characters=9999),
        Expect(max_characters=1), *(Expect(language=name) for name in LANGUAGES), Expect(not_contains=("quagga",)),
        Expect(finish_reason="length"), Expect(error_status=(418,)),
    ]  # fmt: skip
    answers = [
        stream("quagga quagga"), stream('{"quagga": 1}'), stream('{"zebrafish": "quagga"}'), calls(("quagga", "{}")),
        calls(("zebrafish", '{"zebrafish": "quagga"}')), ["quagga"], [ERROR.replace("unknown", "quagga")],
        stream("quagga", "quagga"), [piece.replace(MODEL, "quagga") for piece in stream("x")],
    ]  # fmt: skip
    found = [why for expect in expects for pieces in answers for why in wrong(expect, pieces)]
    found += [why for pieces in answers for why in wrong(Expect(), pieces, 500)]
    assert len(set(found)) >= 20
    assert [why for why in found if planted in why or "quagga" in why] == []


def test_whatever_an_engine_sends_is_judged_and_never_raises() -> None:
    draw = random.Random(5)  # noqa: S311  repeatable, not secret
    junk: list[Any] = [None, True, 0, -1.5, "", "assistant", [], {}, [None], [[]], {"role": 1}, {"content": []}]
    keys = ["id", "object", "model", "choices", "delta", "message", "tool_calls", "function", "index", "finish_reason",
            "content", "name", "arguments", "error"]  # fmt: skip

    def value(depth: int) -> Any:
        if depth == 0 or draw.random() < 0.2:
            return draw.choice(junk)
        if draw.random() < 0.3:
            return [value(depth - 1) for _ in range(draw.randint(0, 3))]
        return {key: value(depth - 1) for key in draw.sample(keys, draw.randint(0, 8))}

    everything = Expect(contains=("a",), regex=("a",), json_schema=PERSON, language="de", tool_call=WEATHER.tool_call)
    for _ in range(3000):
        top = {
            "object": draw.choice(["chat.completion.chunk", "chat.completion"]),
            "choices": [value(3)],
            **value_of(value),
        }
        pieces = [draw.choice([json.dumps(top), json.dumps(value(3)), "\ud800", DONE, ""]) for _ in range(3)]
        assert wrong(everything, pieces)
        assert wrong(REFUSED, pieces, 404)
        case_answers.of_body(pieces[0])


def value_of(value: Any) -> dict[str, Any]:
    found = value(2)
    return found if isinstance(found, dict) else {}


def test_a_document_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"schema 99.*compile them anew"):
        from_document('{"schema": 99, "cases": []}')


def test_the_host_needs_nothing_but_the_standard_library() -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tandem.domain.cases"
    subprocess.run([sys.executable, "-I", "-S", "-B", "-c", program], check=True)
