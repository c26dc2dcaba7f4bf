"""The text of the split; test_router runs it in a real Nginx."""

import pytest

from tandem.hostside.split import engine_split, split_revision, webui_split

BOTH = {"blue": [18100, 18101], "green": [18200]}


def test_the_same_split_is_the_same_text_in_whatever_order_it_is_given() -> None:
    again = engine_split({"green": (18200,), "blue": (18100, 18101)}, {"green": 30, "blue": 70})
    assert again == engine_split(BOTH, {"blue": 70, "green": 30})


@pytest.mark.parametrize(("blue", "slot"), [(100, "blue"), (0, "green")])
def test_all_or_nothing_draws_no_slot(blue: int, slot: str) -> None:
    text = engine_split(BOTH, {"blue": blue, "green": 100 - blue})
    assert f'map "" $engine_slot {{ default {slot}; }}' in text
    assert "$engine_slot {\n    " not in text.replace("map $engine_slot $engine_upstream {\n", "")


def test_every_draw_ends_with_the_rest_so_that_no_conversation_falls_between() -> None:
    text = engine_split({"blue": [1, 2, 3], "green": [4]}, {"blue": 50, "green": 50})
    draws = text.split("split_clients ")[1:]
    assert len(draws) == 2
    assert all(draw.split("}")[0].rstrip().splitlines()[-1].strip().startswith("* ") for draw in draws)


def test_engines_of_the_same_slot_are_the_preferred_backups() -> None:
    block = engine_split(BOTH, {"blue": 100}).split("upstream engine_blue_18100 {")[1].split("}")[0]
    assert [line.strip() for line in block.strip().splitlines()] == [
        "server 127.0.0.1:18100 max_fails=1 fail_timeout=2s;",
        "server 127.0.0.1:18101 weight=100 max_fails=1 fail_timeout=2s backup;",
        "server 127.0.0.1:18200 weight=1 max_fails=1 fail_timeout=2s backup;",
    ]


def test_a_slot_that_does_not_run_is_no_backup() -> None:
    assert "backup" not in engine_split({"blue": [18100], "green": []}, {"blue": 100, "green": 0})


@pytest.mark.parametrize(
    ("ports", "weights", "salt", "said"),
    [
        (BOTH, {"blue": 60, "green": 30}, "", "add up to 100"),
        (BOTH, {"blue": 110, "green": -10}, "", "add up to 100"),
        (BOTH, {}, "", "add up to 100"),
        ({"blue": [18100]}, {"blue": 90, "green": 10}, "", "slot green should get 10 % but runs no engine"),
        ({}, {"blue": 100}, "", "slot blue should get 100 % but runs no engine"),
        ({"blue": [1, 1]}, {"blue": 100}, "", "not all different"),
        ({"blue": [70000]}, {"blue": 100}, "", "port 70000"),
        (BOTH, {"blue": 100}, 'a";', "salt"),
    ],
)
def test_a_split_that_cannot_serve_is_refused(
    ports: dict[str, list[int]], weights: dict[str, int], salt: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as error:
        engine_split(ports, weights, salt=salt)
    assert "left as it is" in str(error.value)


def test_the_revision_names_the_split() -> None:
    first, second = engine_split(BOTH, {"blue": 100}), engine_split(BOTH, {"blue": 99, "green": 1})
    assert split_revision(first) != split_revision(second)
    assert split_revision(webui_split(18300)) == split_revision(webui_split(18300))
    with pytest.raises(ValueError, match="not written by tandemctl"):
        split_revision("# edited")
