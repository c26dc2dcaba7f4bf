"""Who gets in: the API by its exact key, the page by the password, and neither by the other's."""

import http.client

import pytest

from tests.e2e.site import Site

UNLISTED = ("/v1/embeddings", "/v1/load_lora_adapter", "/v1/chat/completions/", "/v1", "/v1/files")


@pytest.mark.parametrize("change", ["wrong", "missing", "shouted", "cut short"])
def test_without_the_exact_key_the_answer_is_401_as_openai_words_it(site: Site, change: str) -> None:
    key = site.access["api_key"]
    keys = {"wrong": "sk-tandem-wrong", "shouted": key.upper(), "cut short": key[:-1]}
    headers = {"Authorization": f"Bearer {keys[change]}"} if change in keys else {}
    reply = site.ask("POST", "/v1/chat/completions", headers, {"model": site.access["model"], "messages": []})
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert set(reply.json) == {"error"}
    assert reply.json["error"].keys() >= {"message", "type", "code"}


def test_every_client_comes_in_with_its_own_key(site: Site) -> None:
    names, different = list(site.access["keys"]), len(set(site.access["keys"].values()))
    assert different == len(names) > 1
    assert {name: site.ask("GET", "/v1/models", site.key(name)).status for name in names} == dict.fromkeys(names, 200)


@pytest.mark.parametrize("path", UNLISTED)
def test_an_unlisted_route_is_not_there_even_with_the_key(site: Site, path: str) -> None:
    reply = site.ask("POST", path, site.bearer, {})
    assert reply.status == 404
    assert reply.json["error"]["type"] == "not_found_error"


def test_the_password_of_the_page_does_not_open_the_api(site: Site) -> None:
    assert site.ask("GET", "/v1/models", site.basic()).status == 401


def test_the_key_of_the_api_does_not_open_the_page(site: Site) -> None:
    assert site.ask("GET", "/", site.bearer).status == 401


@pytest.mark.parametrize("path", ["/", "/api/config", "/ws/socket.io/?EIO=4&transport=polling", "/static/favicon.png"])
def test_without_the_password_the_page_is_closed(site: Site, path: str) -> None:
    reply = site.ask("GET", path, {})
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"].startswith("Basic")
    assert "Set-Cookie" not in reply.headers


def test_a_wrong_password_earns_no_cookie(site: Site) -> None:
    reply = site.ask("GET", "/", site.basic("not-the-password"))
    assert (reply.status, reply.cookies) == (401, {})


def test_one_persons_password_is_not_anothers(site: Site) -> None:
    first, second, *_ = site.access["passwords"]
    swapped = site.ask("GET", "/", site.basic(site.access["passwords"][first], user=second))
    assert (swapped.status, swapped.cookies) == (401, {})


def test_every_person_comes_in_and_earns_a_cookie_of_their_own(site: Site) -> None:
    replies = {user: site.ask("GET", "/", site.basic(user=user)) for user in site.access["passwords"]}
    assert {user: reply.status for user, reply in replies.items()} == dict.fromkeys(replies, 200)
    cookies = [reply.cookies["tandem_gate"] for reply in replies.values()]
    different, people = len(set(cookies)), len(replies)
    assert different == people > 1
    for cookie in cookies:
        later = site.ask("GET", "/api/config", {"Cookie": f"tandem_gate={cookie}"})
        assert (later.status, later.headers.get("Set-Cookie")) == (200, None)


def test_the_password_earns_a_cookie_that_scripts_and_plain_http_never_see(site: Site) -> None:
    reply = site.ask("GET", "/", site.basic())
    assert reply.status == 200
    assert b"<html" in reply.body.lower()
    attributes = {word.strip().lower() for word in reply.headers["Set-Cookie"].split(";")[1:]}
    assert attributes >= {"secure", "httponly", "samesite=lax"}


def test_the_cookie_opens_the_page_without_the_password(site: Site) -> None:
    """With the session token that the front end sends instead of the password."""
    session = {"Authorization": "Bearer whatever"}
    assert site.ask("GET", "/api/config", site.cookie).status == 200
    assert site.ask("GET", "/api/config", {**site.cookie, **session}).status == 200
    forged = {"Cookie": site.cookie["Cookie"][:-1] + "x"}
    assert site.ask("GET", "/api/config", {**forged, **session}).status == 401


def test_the_cookie_of_the_page_does_not_open_the_api(site: Site) -> None:
    assert site.ask("GET", "/v1/models", site.cookie).status == 401


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json", "/version", "/tokenize", "/server_info"])
def test_routes_of_the_engine_are_closed_even_to_who_may_see_the_page(site: Site, path: str) -> None:
    assert site.ask("GET", path, site.cookie).status == 404


@pytest.mark.parametrize("path", ["/_gate/key", "/_gate/page"])
def test_the_gate_itself_is_not_reached_from_outside(site: Site, path: str) -> None:
    for headers in (site.bearer, site.cookie):
        reply = site.ask("GET", path, headers)
        assert (reply.status, reply.headers.get("Set-Cookie"), reply.headers.get("X-Tandem-Client")) == (
            404,
            None,
            None,
        )


def test_plain_http_only_points_to_https(site: Site) -> None:
    connection = http.client.HTTPConnection(site.address, 80, timeout=10)
    connection.request("GET", "/some/page?x=1", headers={"Host": site.address})
    reply = connection.getresponse()
    connection.close()
    assert (reply.status, reply.headers["Location"]) == (308, f"https://{site.address}/some/page?x=1")
