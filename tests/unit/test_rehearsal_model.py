"""The rehearsal's questions, lock files, and pip settings as uv gets them."""

import json
import re

import pytest

from tandem.rehearsal.model import QUESTIONS
from tandem.rehearsal.packages import REQUIREMENTS, pip_settings, uv_environment, uv_options

LOCKS = ("engine.txt", "torch.txt", "webui.txt")


def test_every_question_is_asked_once_and_some_have_a_wrong_answer():
    items = json.loads(QUESTIONS.read_text())
    assert len({item["question"] for item in items}) == len(items) == 30
    wrong = [item for item in items if "bad_answer" in item]
    assert len(wrong) == 8
    assert all(item["bad_answer"] != item["answer"] for item in wrong)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_package_by_hash_and_names_no_index(lock):
    text = (REQUIREMENTS / lock).read_text()
    entries = [entry for entry in re.split(r"\n(?=\S)", text.strip()) if not entry.startswith("#")]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9_.-]+==\S+ \\\n\s+--hash=sha256:[0-9a-f]{64}", entry), entry[:80]
    assert not re.search(r"https?://|file:|--(extra-)?index|--find-links", text)


def test_pip_settings_take_install_over_global_and_the_environment_over_both():
    listing = "\n".join(
        (
            "global.index-url='https://one.example/simple'",
            "global.timeout='10'",
            "install.index-url='https://two.example/simple'",
            "download.index-url='https://never.example/simple'",
            ":env:.timeout='60'",
        )
    )
    assert pip_settings(listing) == {"index-url": "https://two.example/simple", "timeout": "60"}


def test_no_pip_settings_add_no_place_to_look():
    assert uv_options(pip_settings("")) == ["--index-strategy", "unsafe-best-match"]


def test_places_of_pip_settings_become_arguments_of_uv(tmp_path):
    settings = pip_settings(
        "global.extra-index-url='\\nhttps://a.example/simple\\nhttps://b.example/simple'\n"
        "global.find-links='/wheels'\nglobal.no-index='true'\nglobal.cert='/ca.pem'\nglobal.proxy='http://proxy:3128'"
    )
    options = uv_options(settings)
    assert options[2:] == [
        "--no-index", "--extra-index-url", "https://a.example/simple", "--extra-index-url", "https://b.example/simple",
        "--find-links", "/wheels",
    ]  # fmt: skip
    environment = uv_environment(settings, tmp_path)
    assert environment["SSL_CERT_FILE"] == "/ca.pem"
    assert environment["ALL_PROXY"] == "http://proxy:3128"
