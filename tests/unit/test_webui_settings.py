"""Which settings Open WebUI may keep, and which follow its unit: decided, and done in a real database."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tandem.domain.webui_settings import FOLLOWING, KEYS, MODEL, URLS, mend
from tandem.hostside import webui_settings
from tandem.hostside.paths import Paths
from tandem.hostside.tandemctl import REFUSED, main
from tandem.render.tree import File
from tandem.render.webui import render_webui, webui_path
from tests.unit.nginx_process import example_config

OURS, KEY = "http://127.0.0.1:18501/v1", "the-key-of-this-host"
THEIRS = "http://127.0.0.1:8000/v1"
SAID = {
    "WEBUI_URL": "https://chat.example",
    "ENABLE_SIGNUP": "false",
    "DEFAULT_MODELS": "gpt-oss-20b",
    "OPENAI_API_BASE_URL": OURS,
}
RIGHT: dict[str, Any] = {
    "webui.url": "https://chat.example",
    "ui.enable_signup": False,
    "ui.default_models": "gpt-oss-20b",
    "openai.api_base_urls": [OURS],
    "openai.api_keys": [KEY],
}


# What is decided.


@pytest.mark.parametrize(
    ("changed", "forgotten"),
    [
        ({}, []),
        ({"webui.url": "https://old.example"}, ["webui.url"]),
        ({"webui.url": None}, ["webui.url"]),
        ({"ui.enable_signup": True}, ["ui.enable_signup"]),
        ({"direct.enable": True}, []),  # the unit does not say what it should be
        ({"ui.default_models": "llama"}, ["ui.default_models"]),
        ({"ui.default_models": ""}, ["ui.default_models"]),
        ({"ui.default_models": None}, ["ui.default_models"]),
        ({"ui.default_models": "helper"}, []),
        ({"ui.default_models": "llama, gpt-oss-20b"}, []),
    ],
)
def test_what_differs_from_the_unit_is_forgotten(changed: dict[str, Any], forgotten: list[str]) -> None:
    assert mend(SAID, KEY, {**RIGHT, **changed}, ["helper"]) == (forgotten, {})


@pytest.mark.parametrize("name", list(RIGHT))
def test_what_is_not_kept_yet_comes_from_the_environment_anyway(name: str) -> None:
    kept = {one: value for one, value in RIGHT.items() if one != name}
    forgotten, put = mend(SAID, KEY, kept, [])
    assert forgotten == []
    assert put == ({URLS[1]: [OURS], KEYS: [KEY]} if name == KEYS else {})


@pytest.mark.parametrize(
    ("urls", "keys", "wanted_urls", "wanted_keys"),
    [
        ([OURS], ["old"], [OURS], [KEY]),
        ([THEIRS, OURS], ["theirs", "old"], [THEIRS, OURS], ["theirs", KEY]),
        ([THEIRS, OURS], ["theirs"], [THEIRS, OURS], ["theirs", KEY]),
        ([THEIRS], ["theirs", "left over"], [THEIRS, OURS], ["theirs", KEY]),
        ([], [], [OURS], [KEY]),
        (None, None, [OURS], [KEY]),
        ([OURS], None, [OURS], [KEY]),
    ],
)
def test_the_engines_connection_has_its_key_and_others_stay(
    urls: Any, keys: Any, wanted_urls: list[str], wanted_keys: list[str]
) -> None:
    kept = {**RIGHT, URLS[1]: urls, KEYS: keys}
    assert mend(SAID, KEY, kept, []) == ([], {URLS[1]: wanted_urls, KEYS: wanted_keys})


def test_a_connection_that_is_right_is_not_written() -> None:
    assert mend(SAID, KEY, {**RIGHT, URLS[1]: [THEIRS, OURS], KEYS: ["theirs", KEY]}, []) == ([], {})


# For the first start only: an administrator who brings an embedding model or another engine along changes them.
STARTING = {"BYPASS_EMBEDDING_AND_RETRIEVAL", "ENABLE_MEMORIES", "ENABLE_OLLAMA_API", "RAG_EMBEDDING_ENGINE"}
# Open WebUI 0.12.4 keeps none of these (DEFAULT_CONFIG in its config.py).
NEVER_KEPT = {
    *("ANONYMIZED_TELEMETRY", "BYPASS_MODEL_ACCESS_CONTROL", "CORS_ALLOW_ORIGIN", "DATA_DIR", "DO_NOT_TRACK"),
    *("ENABLE_FORWARD_USER_INFO_HEADERS", "ENABLE_VERSION_UPDATE_CHECK", "FORWARDED_ALLOW_IPS", "GLOBAL_LOG_LEVEL"),
    *("HF_HUB_OFFLINE", "HOME", "HOST", "OFFLINE_MODE", "PORT", "SCARF_NO_ANALYTICS", "STATIC_DIR"),
    *("WEBUI_ADMIN_EMAIL", "WEBUI_ADMIN_NAME", "WEBUI_AUTH_COOKIE_SECURE", "WEBUI_NAME"),
    *("WEBUI_SESSION_COOKIE_SECURE",),
}


def unit() -> str:
    entry = render_webui(example_config(), "blue").entries[webui_path("blue")]
    assert isinstance(entry, File)
    return entry.content


def test_every_variable_of_the_unit_is_known_to_follow_to_start_or_never_to_be_kept() -> None:
    said = set(re.findall(r'^Environment="([A-Z_]+)=', unit(), re.MULTILINE))
    assert said == {*FOLLOWING, MODEL[0], URLS[0]} | STARTING | NEVER_KEPT


# What is done.


def host(root: Path, kept: dict[str, Any] | None) -> Paths:
    """A host with the example's unit and, unless ``kept`` is None, a database that holds these settings."""
    paths = Paths(root)
    paths.containers.mkdir(parents=True)
    (paths.containers / "open-webui-blue.container").write_text(unit())
    paths.secrets.mkdir(parents=True)
    paths.upstream_key.write_text(f"{KEY}\n")
    (root / "var/lib/tandem/webui/blue").mkdir(parents=True)
    if kept is not None:
        with closing(sqlite3.connect(database(paths))) as there, there:
            there.execute("PRAGMA journal_mode=WAL")
            there.execute("CREATE TABLE config (key TEXT PRIMARY KEY, value JSON NOT NULL, updated_at BIGINT)")
            there.execute("CREATE TABLE model (id TEXT PRIMARY KEY, base_model_id TEXT, is_active BOOLEAN)")
            there.executemany("INSERT INTO config VALUES (?, ?, 1)", [(k, json.dumps(v)) for k, v in kept.items()])
    return paths


def database(paths: Paths) -> Path:
    return paths.root / "var/lib/tandem/webui/blue/webui.db"


def settings(paths: Paths) -> dict[str, Any]:
    with closing(sqlite3.connect(database(paths))) as there:
        return {key: json.loads(value) for key, value in there.execute("SELECT key, value FROM config")}


def test_an_old_hosts_settings_give_way_and_the_administrators_stay(tmp_path: Path) -> None:
    theirs = {"ui.banners": [{"content": "hello"}], "rag.embedding_engine": "ollama", "memories.enable": True}
    doors = {
        "code_execution.enable": True,
        "ui.enable_community_sharing": True,
        "direct.enable": True,
        "ui.enable_signup": True,
    }
    old = {"webui.url": "https://old.example", "ui.default_models": "old", URLS[1]: [THEIRS, OURS], KEYS: ["x", "old"]}
    paths = host(tmp_path, {**old, **doors, **theirs})
    assert sorted(webui_settings.follow("blue", paths)) == sorted([*old, *doors])
    assert settings(paths) == {**theirs, URLS[1]: [THEIRS, OURS], KEYS: ["x", KEY]}
    assert webui_settings.follow("blue", paths) == []


@pytest.mark.parametrize(("active", "stays"), [(1, True), (0, False)])
def test_a_model_that_was_made_on_top_of_the_served_one_may_be_the_selected_one(
    tmp_path: Path, active: int, stays: bool
) -> None:
    paths = host(tmp_path, {"ui.default_models": "helper"})
    with closing(sqlite3.connect(database(paths))) as there, there:
        served = example_config().wanted.model.name
        there.execute("INSERT INTO model VALUES ('helper', ?, ?)", (served, active))
    webui_settings.follow("blue", paths)
    assert ("ui.default_models" in settings(paths)) is stays


def test_before_the_first_start_there_is_nothing_to_do(tmp_path: Path) -> None:
    paths = host(tmp_path, None)
    assert webui_settings.follow("blue", paths) == []
    assert not database(paths).exists()


def test_a_database_that_keeps_settings_otherwise_is_left_alone(tmp_path: Path) -> None:
    paths = host(tmp_path, None)
    with closing(sqlite3.connect(database(paths))) as there, there:
        there.execute("CREATE TABLE config (id INTEGER PRIMARY KEY, data JSON, version INTEGER)")
    before = database(paths).read_bytes()
    assert webui_settings.follow("blue", paths) == []
    assert database(paths).read_bytes() == before


def test_the_units_command_says_what_it_changed_and_never_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = host(tmp_path, {**RIGHT, KEYS: ["old"]})
    words = re.findall(r"^ExecStartPre=-\+/usr/local/bin/tandemctl (.*)$", unit(), re.MULTILINE)
    assert main(words[0].split(), paths) == 0
    said = capsys.readouterr()
    assert KEYS in said.out
    assert KEY not in said.out + said.err


def test_a_damaged_database_is_named_and_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = host(tmp_path, None)
    database(paths).write_bytes(b"no database" * 100)
    assert main(["webui", "settings", "--slot", "blue"], paths) == REFUSED
    assert f"{database(paths)} could not be read: file is not a database" in capsys.readouterr().err
    assert database(paths).read_bytes() == b"no database" * 100
