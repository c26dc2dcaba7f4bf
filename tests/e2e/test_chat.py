"""Through https://, with the API key: answers are streamed and right."""

import json

from tandem.rehearsal.access import QUESTIONS
from tests.e2e.site import Site


def test_every_question_is_answered_exactly_and_in_pieces(site: Site) -> None:
    expected = {row["question"]: row["answer"] for row in json.loads(QUESTIONS.read_text())}
    answered = {question: site.chat(question) for question in expected}
    assert {question: "".join(words) for question, words in answered.items()} == expected
    # A busy engine may put all tokens of a short answer into one piece; whatever holds answers back does so each time.
    whole = [question for question, words in answered.items() if len(words) == 1]
    again = {question: max(len(site.chat(question)) for _ in range(3)) for question in whole}
    assert not [question for question, pieces in again.items() if pieces == 1]


def test_the_first_piece_comes_before_the_last(site: Site) -> None:
    """An answer that is held back until it is complete would arrive in one read."""
    message = {"role": "user", "content": "Count to sixty in words."}
    body = {"model": site.access["model"], "messages": [message], "stream": True, "temperature": 0}
    with site.open("POST", "/v1/chat/completions", site.bearer, body) as response:
        first, rest = response.read1(), b""
        while piece := response.read1():
            rest += piece
    assert first.startswith(b"data: ")
    assert b"[DONE]" not in first
    assert rest.rstrip().endswith(b"data: [DONE]")


def test_the_model_is_listed_under_its_name(site: Site) -> None:
    reply = site.ask("GET", "/v1/models", site.bearer)
    assert (reply.status, [row["id"] for row in reply.json["data"]]) == (200, [site.access["model"]])
