"""Open WebUI."""

from tests.host.reading import Seen, directive


def test_the_webui_is_ready(serving: Seen) -> None:
    assert serving["webui"]["ready"] == 200


def test_nobody_can_sign_up(serving: Seen) -> None:
    assert serving["webui"]["signup"] == 403


def test_the_administrator_signs_in_with_the_password_of_this_host(serving: Seen) -> None:
    assert serving["webui"]["signin"] == [200, "admin"]


def test_the_webui_offers_the_model_of_the_release(serving: Seen, webui: Seen) -> None:
    assert serving["webui"]["models"] == [directive(webui["unit_file"], "DEFAULT_MODELS")]


def test_without_a_session_the_webui_tells_nothing(serving: Seen) -> None:
    assert serving["webui"]["without_session"] in (401, 403)


def test_only_the_webui_reads_its_data(system: Seen, webui: Seen) -> None:
    folder = directive(webui["unit_file"], "Volume").partition(":")[0]
    seen = system["manifest"][folder]
    assert (seen["kind"], seen["mode"], seen["uid"]) == (
        "directory",
        "0700",
        int(directive(webui["unit_file"], "User")),
    )
