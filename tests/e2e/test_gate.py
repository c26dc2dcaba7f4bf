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


def test_the_password_earns_a_cookie_that_scripts_and_plain_http_never_see(site: Site) -> None:
    reply = site.ask("GET", "/", site.basic())
    assert reply.status == 200
    assert b"<html" in reply.body.lower()
    attributes = {word.strip().lower() for word in reply.headers["Set-Cookie"].split(";")[1:]}
    assert attributes >= {"secure", "httponly", "samesite=lax"}


def test_the_cookie_opens_the_page_without_the_password(site: Site) -> None:
    """With the session token that the front end sends instead of the password."""
    (name, value), *_ = site.ask("GET", "/", site.basic()).cookies.items()
    cookie = {"Cookie": f"{name}={value}"}
    assert site.ask("GET", "/api/config", cookie).status == 200
    assert site.ask("GET", "/api/config", {**cookie, "Authorization": "Bearer whatever"}).status == 200
    forged = {"Cookie": f"{name}={value[:-1]}x", "Authorization": "Bearer whatever"}
    assert site.ask("GET", "/api/config", forged).status == 401


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json", "/version", "/tokenize", "/server_info"])
def test_routes_of_the_engine_are_closed_even_with_the_password(site: Site, path: str) -> None:
    assert site.ask("GET", path, site.basic()).status == 404


def test_plain_http_only_points_to_https(site: Site) -> None:
    connection = http.client.HTTPConnection(site.address, 80, timeout=10)
    connection.request("GET", "/some/page?x=1", headers={"Host": site.address})
    reply = connection.getresponse()
    connection.close()
    assert (reply.status, reply.headers["Location"]) == (308, f"https://{site.address}/some/page?x=1")
