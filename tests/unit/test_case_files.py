"""Files of comparison cases: what they may say, each mistake by its own sentence, and what the host gets."""

import json
from pathlib import Path

import pytest

from tandem.config import ConfigError
from tandem.config.case_files import document, read
from tandem.domain.cases import Answer, Case, Transcript, evaluate, from_document
from tandem.domain.cases import body as request
from tests.unit.test_cases import MODEL, stream

ROOT = Path(__file__).parents[2]
FILE = """\
# My own.
- name: capital
  critical: true
  messages:
    - role: user
      content: What is the capital of France?
      expect: {contains: [Paris], not_contains: [no, 12:30, 2026-01-02]}

- name: door
  kind: recall
  messages:
    - role: user
      haystack: {tokens: 2000, needle: The code is 7341.}
      content: Which code?
      expect:
        regex: ['\\b7341\\b']
  total_seconds: {target: 2, limit: 10}
"""
LINE = '{"name": "capital", "messages": [{"role": "user", "content": "Capital?", "expect": {"contains": ["Paris"]}}]}\n'
TOOL = """\
- name: tool
  kind: tool
  messages: [{role: user, content: 'Weather?', expect: {tool_call: {name: get_weather}}}]
  request: {tools: [{type: function, function: {name: get_weather}}]}
"""


def cases_of(tmp_path: Path, text: str, name: str = "x.yaml") -> tuple[Case, ...]:
    (tmp_path / name).write_text(text)
    return from_document(document(read([tmp_path / name])))


def refused(tmp_path: Path, text: str, name: str = "x.yaml") -> list[str]:
    """The sentences, without the line that counts them."""
    with pytest.raises(ConfigError) as raised:
        cases_of(tmp_path, text, name)
    first, *lines = str(raised.value).splitlines()
    assert first == f"the comparison cases have {len(lines)} error{'s' if len(lines) > 1 else ''}:"
    return [line.strip().replace(f"{tmp_path}/", "") for line in lines]


def test_a_file_becomes_cases_on_the_host(tmp_path: Path) -> None:
    capital, door = cases_of(tmp_path, FILE)
    assert (capital.name, capital.kind, capital.critical) == ("capital", "answer", True)
    assert capital.messages[0].expect.not_contains == ("no", "12:30", "2026-01-02")
    assert request(capital, "m", []) == {
        "model": "m",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0.0,
        "max_tokens": 1024,
        "stream": True,
    }
    assert door.messages[0].haystack
    assert door.messages[0].haystack.position == 0.5
    assert door.total_seconds
    assert door.total_seconds.limit == 10
    (tool,) = cases_of(tmp_path, TOOL)
    assert tool.messages[0].expect.tool_call
    assert tool.messages[0].expect.tool_call.arguments == {"type": "object"}


def test_lines_of_json_are_the_same_cases(tmp_path: Path) -> None:
    (one,) = cases_of(tmp_path, f"\n{LINE}\n", "x.jsonl")
    (other,) = cases_of(
        tmp_path, "- {name: capital, messages: [{role: user, content: 'Capital?', expect: {contains: [Paris]}}]}"
    )
    assert one == other


def test_the_document_does_not_depend_on_the_order_of_cases_and_keys(tmp_path: Path) -> None:
    first, second = FILE.split("\n\n")
    (tmp_path / "a.yaml").write_text(FILE)
    (tmp_path / "b.yaml").write_text(f"{second}\n{first}\n")
    assert document(read([tmp_path / "a.yaml"])) == document(read([tmp_path / "b.yaml"]))


def test_a_folder_is_all_its_files_of_cases_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FILE)
    (tmp_path / "b.jsonl").write_text(LINE.replace("capital", "other"))
    (tmp_path / "README.md").write_text("not a case")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "c.jsonl").write_text("broken")
    assert [case.name for case in read([tmp_path])] == ["capital", "door", "other"]


MISTAKES = [
    ("name: capital", "nme: capital", "missing"),
    ("name: capital", "name: Capital of France", "is not a short name"),
    ("  critical: true", "  critical: 'yes'", "critical: 'yes' does not fit"),
    ("  critical: true", "  critical: yes", "critical: 'yes' does not fit"),
    ("  critical: true", "  weight: 3", "weight: unknown name"),
    ("  critical: true", "  kind: poem", "kind: 'poem' is not known; give 'answer'"),
    ("  critical: true", "  kind: error", "kind 'error' needs bad_request"),
    ("  critical: true", "  kind: recall", "kind 'recall' needs a message with haystack"),
    ("  critical: true", "  kind: conversation", "needs two or more messages"),
    ("  critical: true", "  kind: json", "kind 'json' needs expect: json_schema"),
    ("  critical: true", "  kind: language", "kind 'language' needs expect: language"),
    ("  critical: true", "  kind: tool", "kind 'tool' needs expect: tool_call"),
    ("  critical: true", "  kind: latency", "needs first_token_seconds or total_seconds"),
    ("  critical: true", "  kind: stream\n  request: {stream: false}", "kind 'stream' needs request: stream true"),
    ("  critical: true", "  bad_request: {model: x}", "bad_request and error_status are of kind 'error'"),
    ("  critical: true", "  request: {temperature: 3}", "request/temperature: 3 does not fit"),
    ("  critical: true", "  request: {max_tokens: 1.5}", "request/max_tokens: 1.5 does not fit"),
    ("  critical: true", "  total_seconds: {target: 9, limit: 2}", "target 9 is above limit 2"),
    (
        "  critical: true",
        "  request: {stream: false}\n  first_token_seconds: {target: 1, limit: 2}",
        "first_token_seconds needs request: stream true",
    ),
    ("role: user", "role: tool", "messages/0/role: 'tool' is not known; give 'system'"),
    ("role: user", "role: assistant", "the last message is the assistant's"),
    ("content: What is the capital of France?", "content: 12", "messages/0/content: 12 does not fit"),
    ("content: What is the capital of France?", "content: ' '", "is not text"),
    ("expect: {contains: [Paris]", "expect: {contain: [Paris]", "expect/contain: unknown name"),
    ("contains: [Paris]", "contains: Paris", "expect/contains: 'Paris' does not fit"),
    ("contains: [Paris]", "contains: [7]", "expect/contains/0: 7 does not fit"),
    ("contains: [Paris]", "regex: ['(']", "is not a regular expression"),
    ("contains: [Paris]", "language: xx", "language: 'xx' is not known; give 'de'"),
    ("contains: [Paris]", "json_schema: {type: text}", "json_schema/type: 'text' is not known"),
    ("contains: [Paris]", "json_schema: {pattern: x}", "json_schema/pattern: unknown name"),
    ("contains: [Paris]", "json_schema: {type: array, required: [a]}", "required and properties are of an object"),
    ("contains: [Paris]", "json_schema: {type: string, items: {}}", "items are of an array"),
    ("contains: [Paris]", "json_schema: {enum: []}", "json_schema/enum"),
    ("contains: [Paris]", "min_characters: 9, max_characters: 3", "min_characters 9 is above max_characters 3"),
    ("contains: [Paris]", "finish_reason: end", "finish_reason: 'end' is not known"),
    ("contains: [Paris]", "error_status: [400]", "error_status stands alone"),
    ("contains: [Paris]", "tool_call: {name: f}", "expects a call of 'f', which is not among request: tools"),
    ("{contains: [Paris], not_contains: [no, 12:30, 2026-01-02]}", "{}", "expect: is empty; give at least one"),
    ("{contains: [Paris], not_contains: [no, 12:30, 2026-01-02]}", "null", "needs expect at a message"),
]


@pytest.mark.parametrize(("right", "wrong", "problem"), MISTAKES, ids=[wrong for _, wrong, _ in MISTAKES])
def test_each_mistake_has_its_own_sentence(tmp_path: Path, right: str, wrong: str, problem: str) -> None:
    assert right in FILE
    sentences = refused(tmp_path, FILE.replace(right, wrong, 1))
    assert any(sentence.startswith("x.yaml, line 2") and problem in sentence for sentence in sentences), sentences
    assert len(sentences) == (2 if wrong.startswith("nme") else 1)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ("[{role: user, content: a, expect: E}, {role: system, content: b}]", "only the first one may be it"),
        ("[{role: user, content: a, expect: E}, {role: assistant, content: b}, {role: user, content: c}]", "not asked"),
        ("[{role: assistant, content: b}, {role: user, content: c, expect: E}]", "follows none of the user's"),
        ("[{role: system, content: b, haystack: H}, {role: user, content: c, expect: E}]", "is not the user's"),
    ],
)
def test_messages_in_a_wrong_order_are_named(tmp_path: Path, messages: str, problem: str) -> None:
    messages = messages.replace("E", "{contains: [x]}").replace("H", "{tokens: 500, needle: It is 7.}")
    (sentence,) = refused(tmp_path, f"- name: x\n  messages: {messages}\n")
    assert problem in sentence


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = FILE.replace("role: user", "role: tool").replace("limit: 10", "limit: -1")
    sentences = refused(tmp_path, text)
    assert [sentence.split(":")[0] for sentence in sentences] == [
        "x.yaml, line 2, case 'capital'",
        "x.yaml, line 9, case 'door'",
        "x.yaml, line 9, case 'door'",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no case there"),
        ("name: x\n", "line 1: not a list; begin each case with '- name: ...'"),
        ("- just text\n", "line 1: a str is no case"),
        ("- name: [\n", "not YAML"),
        ("- name: !!python/object/apply:os.system [id]\n", "not YAML"),
        ("- a: 1\n- name: x\n  name: y\n", "line 3: 'name' is given twice"),
        ("- &a [*a]\n", "more than 100000 values"),
        ("- ? [a]\n  : b\n", "a name that is not text"),
        ("- \x00\n", "not YAML"),
        ("- a: " + "[" * 5000, "not YAML"),
    ],
)
def test_a_file_that_is_not_yaml_is_refused_by_line(tmp_path: Path, text: str, problem: str) -> None:
    (sentence,) = refused(tmp_path, text)
    assert "x.yaml" in sentence
    assert problem in sentence


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'{LINE}{{"name": \n', "line 2: not JSON"),
        ('{"name": "a", "name": "b"}\n', "line 1: not JSON ('name' is given twice)"),
        (LINE.replace('"Capital?"', "NaN"), "NaN is no number"),
        ("[]\n", "line 1: a list is no case"),
        (LINE + LINE, "x.jsonl, line 2: the name 'capital' is that of x.jsonl, line 1"),
        ("[" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_line_that_is_not_json_is_refused_by_line(tmp_path: Path, text: str, problem: str) -> None:
    (sentence,) = refused(tmp_path, text, "x.jsonl")
    assert problem in sentence


def test_files_that_are_absent_no_text_or_of_another_kind_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff")
    (tmp_path / "x.txt").write_text(LINE)
    with pytest.raises(ConfigError) as raised:
        read([tmp_path / "absent.yaml", tmp_path / "x.yaml", tmp_path / "x.txt"])
    first, *lines = str(raised.value).splitlines()
    assert first == "the comparison cases have 3 errors:"
    assert ["can't be read" in lines[0], "is not UTF-8" in lines[1], "ends in .yaml" in lines[2]] == [True] * 3


def test_the_projects_own_cases_cover_the_checklist() -> None:
    found = from_document(document(read([ROOT / "cases"])))
    assert {case.kind for case in found} == {
        "answer", "conversation", "error", "json", "language", "latency", "recall", "stream", "tool",
    }  # fmt: skip
    assert len(found) >= 50
    assert any(len(case.turns) == 10 for case in found if case.kind == "conversation")
    assert {case.messages[-1].expect.language for case in found} >= {"en", "de", "fr", "es", "ru", "zh"}


def test_the_rehearsals_cases_tell_its_two_models_apart() -> None:
    questions = json.loads((ROOT / "tandem/rehearsal/questions.json").read_text())
    answers = {one["question"]: one for one in questions}
    found = from_document(document(read([ROOT / "cases/rehearsal"])))
    asked = [case for case in found if case.kind == "answer" and len(case.turns) == 1 and case.request["stream"]]
    assert {case.messages[0].content for case in asked} == set(answers)
    for case in asked:
        one = answers[case.messages[0].content]
        for text in (one["answer"], one.get("bad_answer", one["answer"])):
            given = Transcript(MODEL, (Answer(200, tuple(stream(text)), 1.0, 0.1),))
            assert bool(evaluate(case, given)) == (text != one["answer"])
