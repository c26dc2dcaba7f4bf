"""The official OpenAI client for Python, without retries: its answers, its streams, and its own exceptions."""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest
from openai import OpenAI, Stream
from openai.types import Completion
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam

from tandem.render.nginx import INFERENCE_BODY_MIB
from tests.e2e.site import Site

QUESTION, ANSWER = "What is the capital of France?", "The capital of France is Paris."
ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
# Long enough that a busy engine does not put all of it into one piece.
LONG = "Recite the alphabet."
ALPHABET = " ".join("abcdefghijklmnopqrstuvwxyz")
WEATHER: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HURRIED, HURRIED_RATE, HURRIED_BURST, HURRIED_STREAMS = "hurried", 2, 2, 2
"""The client of the rehearsal hosts that is there to meet its limits, and the limits."""

Connect = Callable[..., OpenAI]


@pytest.fixture(scope="module")
def connect(site: Site) -> Iterator[Connect]:
    """Makes clients, which speak HTTP/1.1 unless told otherwise, as they do by default."""
    trust = ssl.create_default_context(cafile=site.access["ca_file"])
    with ExitStack() as stack:

        def client(key: str | None = None, *, http2: bool = False) -> OpenAI:
            http = stack.enter_context(openai.DefaultHttpxClient(verify=trust, http2=http2, timeout=60))
            name = key or site.access["keys"]["default"]
            return OpenAI(base_url=f"{site.access['url']}/v1", api_key=name, max_retries=0, http_client=http)

        yield client


@pytest.fixture(scope="module")
def client(connect: Connect) -> OpenAI:
    return connect()


@pytest.fixture(scope="module")
def model(site: Site) -> str:
    name: str = site.access["model"]
    return name


@pytest.fixture(autouse=True)
def paced() -> None:
    """One key may ask five times a second, and some tests before this one asked more at once."""
    time.sleep(0.4)


@pytest.fixture
def hurried(connect: Connect, site: Site) -> OpenAI:
    """Its limits have forgotten the test before."""
    time.sleep((HURRIED_BURST + 1) / HURRIED_RATE)
    return connect(site.access["keys"][HURRIED])


def assert_openai_shaped(error: openai.APIStatusError) -> None:
    assert isinstance(error.body, dict)
    assert error.body.keys() >= {"message", "type", "param", "code"}
    assert error.body["code"] == error.status_code
    assert error.response.headers["Content-Type"].startswith("application/json")
    assert error.request_id


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_a_chat_is_answered(connect: Connect, model: str, http2: bool) -> None:
    done = connect(http2=http2).chat.completions.create(model=model, messages=ASKED, temperature=0)
    assert done.choices[0].message.content == ANSWER
    assert done.usage
    assert done.usage.completion_tokens > 0


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_a_chat_is_streamed(connect: Connect, model: str, http2: bool) -> None:
    asked: list[ChatCompletionMessageParam] = [{"role": "user", "content": LONG}]
    stream = connect(http2=http2).chat.completions.create(model=model, messages=asked, temperature=0, stream=True)
    pieces = [text for event in stream for choice in event.choices if (text := choice.delta.content)]
    assert "".join(pieces) == ALPHABET
    assert len(pieces) > 1


def test_a_tool_that_must_be_called_is_called_and_its_result_is_taken(client: OpenAI, model: str) -> None:
    """The rehearsal model knows no weather and fills in what it likes: the shape is what is tested."""
    done = client.chat.completions.create(
        model=model, messages=ASKED, tools=[WEATHER], tool_choice="required", temperature=0, max_tokens=200
    )
    choice = done.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert call.function.arguments.startswith("{")
    result: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 21}'}
    made: Any = choice.message.to_dict()
    later = client.chat.completions.create(
        model=model, messages=[*ASKED, made, result], tools=[WEATHER], temperature=0, max_tokens=50
    )
    assert later.choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_a_tool_that_may_be_called_hinders_no_answer(client: OpenAI, model: str) -> None:
    done = client.chat.completions.create(model=model, messages=ASKED, tools=[WEATHER], temperature=0)
    assert done.choices[0].message.content == ANSWER


def test_the_responses_api_answers(client: OpenAI, model: str) -> None:
    done = client.responses.create(model=model, input=QUESTION, temperature=0)
    assert (done.status, done.output_text) == ("completed", ANSWER)


def test_the_responses_api_streams(client: OpenAI, model: str) -> None:
    events = list(client.responses.create(model=model, input=LONG, temperature=0, stream=True))
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(pieces) == ALPHABET
    assert len(pieces) > 1
    assert events[-1].type == "response.completed"


def test_the_model_is_listed(client: OpenAI, model: str) -> None:
    assert [one.id for one in client.models.list()] == [model]


def test_a_wrong_key_is_an_authentication_error(connect: Connect, site: Site, model: str) -> None:
    wrong = connect(site.access["keys"]["default"][:-1])
    with pytest.raises(openai.AuthenticationError) as caught:
        wrong.chat.completions.create(model=model, messages=ASKED)
    assert_openai_shaped(caught.value)


def test_an_unlisted_route_is_a_not_found_error(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model=model, input="anything")
    assert_openai_shaped(caught.value)


def test_an_unknown_model_is_a_not_found_error(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="another-model", messages=ASKED)
    assert_openai_shaped(caught.value)


def test_a_prompt_that_is_too_long_is_a_bad_request_error(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "word " * 9000}])
    assert_openai_shaped(caught.value)


def test_a_body_over_the_limit_is_a_status_error_413(client: OpenAI, model: str) -> None:
    """Over HTTP/1.1: over HTTP/2 httpx waits for a window that never opens, and does not read the answer."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "x" * (INFERENCE_BODY_MIB * 2**20)}]
        )
    assert caught.value.status_code == 413
    assert_openai_shaped(caught.value)


def test_more_requests_than_the_key_may_send_are_a_rate_limit_error(hurried: OpenAI, model: str) -> None:
    """As many come at once as the burst has, and one. The time that they take may let a few more pass."""
    for _ in range(HURRIED_BURST + 1):
        hurried.models.list()
    with pytest.raises(openai.RateLimitError) as caught:
        many(hurried.models.list, 10)
    assert_openai_shaped(caught.value)
    assert int(caught.value.response.headers["Retry-After"]) >= 1


def test_more_streams_than_the_key_may_hold_are_a_rate_limit_error(hurried: OpenAI, model: str) -> None:
    """Those in progress go on, and one that ends makes room."""
    with ExitStack() as stack:
        streams = [stack.enter_context(endless(hurried, model)) for _ in range(HURRIED_STREAMS)]
        began = [next(stream).id for stream in streams]
        with pytest.raises(openai.RateLimitError) as caught:
            hurried.chat.completions.create(model=model, messages=ASKED)
        assert_openai_shaped(caught.value)
        assert int(caught.value.response.headers["Retry-After"]) >= 1
        assert [next(stream).id for stream in streams] == began
        streams[0].close()
        assert eventually_answered(hurried, model) == ANSWER


def test_the_limits_of_one_key_are_not_those_of_another(hurried: OpenAI, client: OpenAI, model: str) -> None:
    with pytest.raises(openai.RateLimitError):
        many(hurried.models.list, HURRIED_BURST + 10)
    done = client.chat.completions.create(model=model, messages=ASKED, temperature=0)
    assert done.choices[0].message.content == ANSWER


def endless(client: OpenAI, model: str) -> Stream[Completion]:
    """An answer that goes on until its reader leaves."""
    more = {"ignore_eos": True}
    return client.completions.create(model=model, prompt=QUESTION, stream=True, max_tokens=6000, extra_body=more)


def many(request: Callable[[], object], times: int) -> None:
    for _ in range(times):
        request()


def eventually_answered(client: OpenAI, model: str, seconds: float = 20) -> str | None:
    """The answer once there is room for it. The last RateLimitError when there is none for so long."""
    end = time.monotonic() + seconds
    while True:
        try:
            done = client.chat.completions.create(model=model, messages=ASKED, temperature=0)
            return done.choices[0].message.content
        except openai.RateLimitError:
            if time.monotonic() > end:
                raise
            time.sleep(1 / HURRIED_RATE)
