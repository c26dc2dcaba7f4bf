"""The engines of the serving release."""

from tests.host.reading import Seen, option


def test_one_engine_runs_on_each_card(engines: dict[str, Seen]) -> None:
    cards = {name: name.rsplit("-", 1)[1] for name in engines}
    devices = {
        name: [word for word in one["created_with"] if "nvidia.com/gpu=" in word] for name, one in engines.items()
    }
    assert {name: [word.rpartition("nvidia.com/gpu=")[2] for word in found] for name, found in devices.items()} == {
        name: [card] for name, card in cards.items()
    }


def test_each_engine_streams_an_answer(serving: Seen) -> None:
    for port, seen in serving["engines"].items():
        stream = seen["stream"]
        assert stream["status"] == 200, port
        assert stream["type"].startswith("text/event-stream"), port
        assert stream["pieces"] > 1, (port, stream)
        assert stream["done"], (port, stream)


def test_each_engine_serves_the_model_of_the_release_and_no_other(serving: Seen, engines: dict[str, Seen]) -> None:
    name = {option(one["unit_file"], "served-model-name") for one in engines.values()}
    assert len(name) == 1
    assert {tuple(seen["models"]) for seen in serving["engines"].values()} == {tuple(name)}


def test_an_engine_answers_nobody_without_the_key(serving: Seen) -> None:
    assert {seen["without_key"] for seen in serving["engines"].values()} == {401}


def test_an_engine_lists_its_routes_to_nobody(serving: Seen) -> None:
    assert {status for seen in serving["engines"].values() for status in seen["documentation"]} == {404}


def test_stopping_leaves_time_to_drain(system: Seen, engines: dict[str, Seen]) -> None:
    """vLLM's own limit is below podman's, and podman's below systemd's: each waits for the one inside it."""
    for name, one in engines.items():
        drain_seconds = int(option(one["unit_file"], "shutdown-timeout"))
        text = system["texts"][f"{name}.service"]
        stop_seconds = int(text.rpartition("TimeoutStopSec=")[2].split()[0])
        words = one["created_with"]
        kill_seconds = int(words[words.index("--stop-timeout") + 1])
        assert drain_seconds < kill_seconds < stop_seconds, name
