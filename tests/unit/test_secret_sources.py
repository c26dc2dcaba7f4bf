"""Where the operator's machine takes secrets from, and that a failure shows none."""

import subprocess
import sys
from pathlib import Path

import pytest
from pyinfra.api.exceptions import DeployError

from tandem.config.secrets import SecretSource
from tandem.hostside import x509
from tandem.steps import secrets
from tandem.steps.secrets import given_sources, value
from tests.unit.nginx_process import example_config

SECRET = "hunter2-hunter2"
LABEL = "secrets/keys/ci"


@pytest.fixture(autouse=True)
def asked_anew() -> None:
    value.cache_clear()


def command(*words: str) -> SecretSource:
    return SecretSource(command=words)


def python(text: str) -> SecretSource:
    return command(sys.executable, "-c", text)


def test_a_secret_comes_from_environment_file_or_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", f"{SECRET}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text(f"{SECRET}\n")
    sources = (SecretSource(env="KEY"), SecretSource(file="~/key"), command("cat", str(tmp_path / "key")))
    assert [value(LABEL, source) for source in sources] == [SECRET] * 3


def test_a_command_is_run_without_a_shell_and_once(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    source = python(f"import sys; open({str(asked)!r}, 'a').write('x'); print('$HOME;{SECRET}')")
    assert [value(LABEL, source) for _ in range(2)] == [f"$HOME;{SECRET}"] * 2
    assert asked.read_text() == "x"


def test_what_a_command_says_on_standard_error_reaches_the_operator(capfd: pytest.CaptureFixture[str]) -> None:
    assert value(LABEL, python(f"import sys; print('{SECRET}'); print('touch the key', file=sys.stderr)")) == SECRET
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "touch the key\n")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (python(f"print('{SECRET}'); raise SystemExit(3)"), f"command {sys.executable} ended with status 3"),
        (python(f"import time; print('{SECRET}', flush=True); time.sleep(60)"), "did not end within 0.5 s"),
        (command("/nonexistent/program", SECRET), "command /nonexistent/program can't be run: No such file"),
        (python(f"import sys; sys.stdout.buffer.write(b'\\xff{SECRET}')"), "can't be run: it printed no text"),
        (python("print('hunter2')"), "must hold at least 12"),
        (python("print('hunter2 hunter2 hunter2')"), "must hold at least 12"),
        (SecretSource(env="NOT_SET"), "environment variable NOT_SET can't be read"),
        (SecretSource(file="/nonexistent/hunter"), "file /nonexistent/hunter can't be read"),
    ],
)
def test_a_failure_names_the_secret_and_the_source_and_shows_nothing(
    source: SecretSource, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "COMMAND_SECONDS", 0.5)
    with pytest.raises(DeployError) as error:
        value(LABEL, source)
    text = str(error.value)
    assert text.startswith(f"{LABEL}: the ")
    assert said in text
    assert text.endswith("nothing was changed")
    assert "hunter2" not in text
    told: BaseException | None = error.value
    while told:  # what a traceback would print
        assert "hunter2" not in repr(vars(told)) + str(told)
        told = told.__context__


def test_the_key_of_a_certificate_keeps_its_lines(tmp_path: Path) -> None:
    key = x509.new_key()
    (tmp_path / "key.pem").write_text(f"\n{key}\n\n")
    found = value("edge/certificate/key", command("cat", str(tmp_path / "key.pem")))
    assert found == f"{key.strip()}\n"
    subprocess.run(["openssl", "pkey", "-noout"], input=found, text=True, check=True, capture_output=True)
    with pytest.raises(DeployError, match="must hold a private key"):
        value("edge/certificate/key", command("echo", SECRET))


def test_what_is_given_is_named_as_on_the_host() -> None:
    source = SecretSource(env="A")
    pem = x509.make_ca(x509.new_key(), "ai.example")
    config = example_config(
        users=["alice"], clients={"ci": {}}, certificate={"kind": "files", "certificate": pem, "key": source}
    )
    chosen = {"passwords": {"alice": source}, "keys": {"ci": source}, "webui_admin_password": source}
    given = config.model_copy(update={"secrets": config.secrets.model_copy(update=chosen)})
    assert {name: option for name, (option, _) in given_sources(given).items()} == {
        "passwords/alice": "secrets/passwords/alice",
        "keys/ci": "secrets/keys/ci",
        "webui_admin_password": "secrets/webui_admin_password",
        "certificate_key": "edge/certificate/key",
    }
