"""Bad configuration: every error in one report, in sentences, and never a secret."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tandem.config import Config, ConfigError, load

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "0" * 64
FILE = {"bytes": 1000, "sha256": DIGEST}
Data = dict[str, Any]

GOOD: Data = {
    "release": "a",
    "releases": {
        "a": {
            "image": f"registry.example/vllm@sha256:{DIGEST}",
            "model": {
                "name": "gpt-oss-20b",
                "manifest": {
                    "repository": "openai/gpt-oss-20b",
                    "revision": "0" * 40,
                    "files": {"config.json": FILE},
                    "weight_bytes": 10**9,
                    "config": {"model_type": "gpt_oss"},
                },
            },
        }
    },
    "gpu": {"driver_source": "none"},
    "weights": {"sources": [{"kind": "folder", "path": "/models"}]},
    "webui": {"image": f"registry.example/webui@sha256:{DIGEST}", "admin_email": "admin@chat.example"},
    "edge": {"server_name": "chat.example"},
}


def changed(path: str, value: object) -> Data:
    """GOOD with ``value`` at ``path`` (names joined by /; missing dicts are made)."""
    data = copy.deepcopy(GOOD)
    place = data
    *folders, last = path.split("/")
    for name in folders:
        place = place.setdefault(name, {})
    place[last] = value
    return data


def report(data: Data) -> str:
    with pytest.raises(ConfigError) as caught:
        load(data, host="gpu1")
    return str(caught.value)


def errors(data: Data) -> list[str]:
    """The error lines of the report."""
    return [line[2:] for line in report(data).splitlines() if line.startswith("  ")]


def test_good_data_loads_with_defaults() -> None:
    config = load(GOOD, host="gpu1")
    assert isinstance(config, Config)
    assert config.engine.cards == (0, 1)
    assert config.wanted is config.releases["a"]


def test_pyinfras_own_keys_are_ignored() -> None:
    load(GOOD | {"_sudo": True, "ssh_user": "operator", "ssh_hostname": "gpu1"}, host="gpu1")


def test_lists_and_tuples_are_both_accepted() -> None:
    assert load(changed("engine/cards", [1]), host="gpu1") == load(changed("engine/cards", (1,)), host="gpu1")


MANIFEST = "releases/a/model/manifest"
FORM_NAME = "1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"
FORM_PATH = "a path that begins with / and has only A-Z a-z 0-9 . _ / + @ : -"
FORM_IMAGE = "REGISTRY/NAME@sha256: and 64 lowercase hexadecimal digits, without a tag"
SECRET_NAMES = "passwords, keys, webui_admin_password"
TANDEM_SETS = "a release may not set the option {0} (Tandem sets it); leave it out"

BAD: list[tuple[str, object, str]] = [
    (
        "releases/a/image",
        f"docker.io/vllm:0.33@sha256:{'0' * 64}",
        f"'docker.io/vllm:0.33@sha256:{'0' * 28}...' is not an image pinned by digest; give {FORM_IMAGE}",
    ),
    # path, value put there, the sentence after "path: "
    (f"{MANIFEST}/revision", "main", "'main' is not a 40-digit revision; give 40 lowercase hexadecimal digits"),
    (
        f"{MANIFEST}/revision",
        "0" * 40 + "\n",
        f"'{'0' * 40}\\n' is not a 40-digit revision; give 40 lowercase hexadecimal digits",
    ),
    (
        f"{MANIFEST}/revision",
        "x" * 99,
        f"'{'x' * 55}...' is not a 40-digit revision; give 40 lowercase hexadecimal digits",
    ),
    (f"{MANIFEST}/repository", "gpt-oss", "'gpt-oss' is not a repository; give OWNER/NAME, e.g. openai/gpt-oss-20b"),
    (f"{MANIFEST}/files", {}, "is empty; give at least 1"),
    (
        f"{MANIFEST}/files",
        {"x.json": FILE},
        "config.json is not among the files; give every file of the model",
    ),
    (
        f"{MANIFEST}/files/config.json/sha256",
        "abc",
        "'abc' is not a SHA-256; give 64 lowercase hexadecimal digits (sha256sum FILE)",
    ),
    ("releases/a/image", "vllm:0.33", f"'vllm:0.33' is not an image pinned by digest; give {FORM_IMAGE}"),
    ("releases/a/topology", "tensor", "'tensor' is not known; give 'replicas'"),
    ("releases/a/arguments/host", "0.0.0.0", TANDEM_SETS.format("host")),
    ("releases/a/arguments/no-enable-auto-tool-choice", True, TANDEM_SETS.format("no-enable-auto-tool-choice")),
    (
        "releases/a/arguments/trust-remote",
        True,
        "a release may not set the option trust-remote (vLLM may read it as trust-remote-code: "
        "it runs code that the release does not pin); leave it out",
    ),
    (
        "releases/a/arguments/data-parallel-size-local",
        2,
        "a release may not set the option data-parallel-size-local (engine/cards and topology decide it); leave it out",
    ),
    (
        "releases/a/arguments/enable-log-requests",
        True,
        "a release may not set the option enable-log-requests (prompts and answers must not reach a log); leave it out",
    ),
    (
        "releases/a/arguments/--dtype",
        "auto",
        "'--dtype' is not an option name; give the long name without the leading --, e.g. max-model-len",
    ),
    (
        "releases/a/arguments/dtype",
        "a\nb",
        "'a\\nb' is not one line; give text without line breaks and control characters",
    ),
    (
        "releases/a/arguments/max-num-seqs",
        [1],
        "a list is given; give text in quotes or a whole number or a number or True or False",
    ),
    (
        "releases/a/environment/VLLM_SERVER_DEV_MODE",
        "1",
        "a release may not set the variable VLLM_SERVER_DEV_MODE (it opens routes that control the engine); "
        "leave it out",
    ),
    (
        "releases/a/environment/HF_TOKEN",
        "hunter2",
        "a release may not set the variable HF_TOKEN (it looks like a secret, and others can read an engine's "
        "environment); leave it out",
    ),
    ("releases/a/environment/VLLM_X", 1, "1 is a number; give text in quotes"),
    ("release", "b", "'b' is not declared in releases; give one of: a"),
    ("release", "A b", f"'A b' is not a short name; give {FORM_NAME}"),
    ("release", None, f"None is given; give {FORM_NAME}"),
    (
        "release",
        0.1,
        '0.1 was read as a number, not as text; quote it: --data \'release="0.1"\' (in group_data: release = "0.1")',
    ),
    (
        "release",
        True,
        "True was read as True or False, not as text; quote it: --data 'release=\"True\"' "
        '(in group_data: release = "True")',
    ),
    ("relase", "a", "unknown name; did you mean release?"),
    ("edge/https_prot", 443, "unknown name; did you mean https_port?"),
    ("router/size", 1, "unknown name; known here: longest_stream_seconds, user_limit, user_streams"),
    ("edge/https_port", "443", "'443' is text; give a whole number"),
    ("edge/https_port", True, "True is a truth value; give a whole number"),
    ("edge/https_port", 70000, "70000 is too large; give 65535 or less"),
    ("edge/https_port", 0, "0 is too small; give 1 or more"),
    (
        "edge/server_name",
        "https://chat.example",
        "'https://chat.example' is not a host name or address; give e.g. chat.example",
    ),
    ("edge/alternative_names", {"a.example", "b.example"}, "a set is given; give a list: [...]"),
    ("edge/alternative_names", "a.example", "'a.example' is text; give a list: [...]"),
    ("edge/users", ["a", "a"], "'a' is named twice; give each user once"),
    ("edge/users", [], "is empty; give at least 1"),
    ("edge/clients/ci/streams", 0, "0 is too small; give 1 or more"),
    ("engine/cards", [], "is empty; give at least 1"),
    ("engine/cards", [0, 0], "card 0 is named twice; give each card once"),
    ("host/accept_untested_os", "yes", "'yes' is text; give True or False"),
    ("host/extra_packages", "htop", "'htop' is text; give a list: [...]"),
    ("weights/sources", [], "is empty; give at least 1"),
    ("weights/parallel_downloads", 17, "17 is too large; give 16 or less"),
    ("weights/stall_timeout_seconds", 0, "0 is too small; give 1 or more"),
    (f"{MANIFEST}/weight_bytes", 0, "0 is too small; give 1 or more"),
    (f"{MANIFEST}/files/config.json/bytes", -1, "-1 is too small; give 0 or more"),
    ("weights/directory", "srv", f"'srv' is not an absolute path; give {FORM_PATH}"),
    ("weights/directory", "/srv/../etc", "'/srv/../etc' has a '..' part; give the path without it"),
    (
        "webui",
        "open-webui",
        "'open-webui' is text; give a dict with image, name, admin_email, admin_name, ready_timeout_seconds, prompts",
    ),
    ("webui/name", "", "is empty; give at least 1"),
    ("webui/name", "x" * 61, f"'{'x' * 55}...' is too long; give at most 60 characters"),
    ("webui/admin_email", "admin", "'admin' is not an e-mail address; give NAME@DOMAIN, e.g. admin@chat.example"),
    ("secrets/keyz", {"ci": {"env": "A"}}, "unknown name; did you mean keys?"),
    ("secrets/keys/default", {}, "has none of them; give exactly one of env, file and command"),
    ("secrets/keys/default", "hunter2", "the given value is text; give a dict with env, file, command"),
    (
        "secrets/keys/default/env",
        "hunter2",
        "the given value is not the name of an environment variable; give A-Z, 0-9 and _ only",
    ),
]


@pytest.mark.parametrize(("path", "value", "sentence"), BAD, ids=[f"{path}={value!r:.20}" for path, value, _ in BAD])
def test_each_mistake_has_its_own_sentence(path: str, value: object, sentence: str) -> None:
    assert errors(changed(path, value)) == [f"{path}: {sentence}"]


def without(path: str) -> Callable[[Data], None]:
    def remove(data: Data) -> None:
        *folders, last = path.split("/")
        for name in folders:
            data = data[name]
        del data[last]

    return remove


def listed(*path: str, value: object) -> Callable[[Data], None]:
    """Put a list with the one ``value`` at ``path``."""

    def put(data: Data) -> None:
        for name in path[:-1]:
            data = data.setdefault(name, {})
        data[path[-1]] = [value]

    return put


SOURCES = ("runtime", "image_sources")
BAD_SHAPES: list[tuple[Callable[[Data], None], str]] = [
    (
        lambda data: data.update(firewall={"ssh_from": ["10.0.0.1/8"]}),
        "firewall/ssh_from/0: '10.0.0.1/8' is not a network; give ADDRESS/LENGTH, e.g. 192.168.1.0/24 or 2001:db8::/32",
    ),
    (
        lambda data: data["edge"].update(users=["Team A"]),
        f"edge/users/0: 'Team A' is not a short name; give {FORM_NAME}",
    ),
    (
        lambda data: data.update(secrets={"keys": {"ci": {"env": "KEY"}}}),
        "edge: 'ci' has a given secret and is not among clients; name it there or take it out",
    ),
    (
        without("edge/server_name"),
        "edge/server_name: missing; give e.g. chat.example (The name or address that people type)",
    ),
    (
        without("weights"),
        "weights: missing; give a dict with directory, sources, parallel_downloads, stall_timeout_seconds, "
        "remove_unused (Where model files are kept and where they come from)",
    ),
    (
        without("releases/a/model/manifest/files"),
        "releases/a/model/manifest/files: missing; give a dict: {...} "
        "(Every file of the model with its size and SHA-256)",
    ),
    (
        listed(*SOURCES, value={"kind": "mirror"}),
        "runtime/image_sources/0/prefix: missing; give HOST[:PORT][/PATH], no scheme "
        "(HOST[:PORT][/PATH] that replaces the registry's host)",
    ),
    (
        listed(*SOURCES, value={"kind": "docker"}),
        "runtime/image_sources/0: kind 'docker' is not known; give 'registry' or 'mirror' or 'oci-layout'",
    ),
    (
        listed(*SOURCES, value={}),
        "runtime/image_sources/0: kind is missing; give 'registry' or 'mirror' or 'oci-layout'",
    ),
    (
        listed(*SOURCES, value={"kind": "registry", "insecur": True}),
        "runtime/image_sources/0/insecur: unknown name; did you mean insecure?",
    ),
    (
        listed("weights", "sources", value={"path": "/models"}),
        "weights/sources/0: kind is missing; give 'folder' or 'archive' or 'http' or 'huggingface' or 'modelscope'",
    ),
    (
        listed("weights", "sources", value={"kind": "huggingface", "endpoint": "https://hub.example/"}),
        "weights/sources/0/endpoint: 'https://hub.example/' is not an address; "
        "give https://HOST[:PORT][/PATH] without a slash at the end",
    ),
    (listed("engine", "cards", value=16), "engine/cards/0: 16 is too large; give 15 or less"),
    (listed("engine", "cards", value=0.0), "engine/cards/0: 0.0 is a number; give a whole number"),
    (listed("edge", "alternative_names", value=7), "edge/alternative_names/0: 7 is a number; give text in quotes"),
    (
        listed("host", "extra_packages", value="htop vim"),
        "host/extra_packages/0: 'htop vim' is not a Debian package name; give a name such as htop, without a version",
    ),
    (
        lambda data: data.update({"edge": {"server_name": "a", "https_port": 80}}),
        "edge/http_port: 80 is the https_port as well; give two different ports",
    ),
    (
        lambda data: data["releases"].update({0.1: data["releases"]["a"]}),
        'releases/0.1: the name 0.1 is a number, not text; give it in quotes: "0.1"',
    ),
    (
        lambda data: data["releases"]["a"]["model"]["manifest"]["files"].update({"../x": FILE}),
        "releases/a/model/manifest/files/../x: '../x' is not a path inside the model's folder; "
        "give e.g. config.json or sub/file.json",
    ),
    (
        lambda data: data["releases"]["a"].update({"arguments": {"gpu-memory-utilization": float("nan")}}),
        "releases/a/arguments/gpu-memory-utilization: nan is not finite; give a finite number",
    ),
    (
        lambda data: data["releases"].update(
            {"b": data["releases"]["a"] | {"model": data["releases"]["a"]["model"] | {"name": "other"}}}
        ),
        "releases: model/name differs ('gpt-oss-20b' in a, 'other' in b); clients ask for it, "
        "so give one name in every release",
    ),
    (
        lambda data: data.update({"release": 0.1, "releases": {"0.10": data["releases"]["a"]}}),
        "release: 0.1 was read as a number, not as text; quote it: --data 'release=\"0.10\"' "
        '(in group_data: release = "0.10")',
    ),
]


@pytest.mark.parametrize(("spoil", "sentence"), BAD_SHAPES, ids=[sentence[:40] for _, sentence in BAD_SHAPES])
def test_each_wrong_shape_has_its_own_sentence(spoil: Callable[[Data], None], sentence: str) -> None:
    data = copy.deepcopy(GOOD)
    spoil(data)
    assert errors(data) == [sentence]


def test_all_errors_come_in_one_report_that_names_the_host() -> None:
    data = changed("releases/a/model/manifest/revision", "main")
    data |= {"release": "b", "edge": {"server_name": "a", "x": 1}, "engine": {"cards": "0"}, "webui": None}
    assert report(data).splitlines() == [
        "the configuration of gpu1 has 5 errors:",
        "  engine/cards: '0' is text; give a list: [...]",
        "  webui: None is given; give a dict with image, name, admin_email, admin_name, ready_timeout_seconds, prompts",
        "  edge/x: unknown name; known here: server_name, alternative_names, https_port, http_port, certificate, "
        "hsts_seconds, users, gate_days, clients, page_limit, password_limit, maximum_body_mib",
        "  releases/a/model/manifest/revision: 'main' is not a 40-digit revision; give 40 lowercase hexadecimal digits",
        "  release: 'b' is not declared in releases; give one of: a",
        "group_data/prod.py explains every option; nothing was changed on gpu1",
    ]


@pytest.mark.parametrize("data", [{}, {"_sudo": True, "ssh_user": "operator"}, {"release": "2026.11"}])
def test_wrong_working_folder_is_said_in_one_sentence(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report(data) == (
        f"no group data found: run pyinfra from the folder that holds group_data/ (now: {tmp_path}), "
        "where inventories/NAME.py goes with group_data/NAME.py; nothing was changed on gpu1"
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("secrets", "hunter2"),
        ("secrets", ["hunter2"]),
        ("secrets/passwords/team", "hunter2"),
        ("secrets/passwords/team", ["hunter2"]),
        ("secrets/passwords/team/env", "hunter2"),
        ("secrets/passwords/team/value", "hunter2"),
        ("secrets/passwords/team/file", "/root/hunter2\n"),
        ("secrets/unknown", "hunter2"),
        ("basic_password", "hunter2"),
        ("releases/a/arguments/api-key", "hunter2"),
        ("releases/a/arguments/hf-token", ["hunter2"]),
        ("releases/a/environment/VLLM_API_KEY", "hunter2"),
        ("releases/a/environment/OPENAI_APIKEY", 7777777),
        ("releases/a/image", "bob:hunter2@registry.example/vllm"),
        ("releases/a/image", "https://bob:hunter2@registry.example/vllm"),
    ],
)
def test_no_secret_is_repeated(path: str, value: object) -> None:
    text = report(changed(path, value))
    assert "hunter2" not in text
    assert "7777777" not in text


def test_the_error_carries_no_input_of_pydantic() -> None:
    with pytest.raises(ConfigError) as caught:
        load(changed("secrets/keys/default/env", "hunter2"), host="gpu1")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_the_pure_layers_do_not_import_pyinfra() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for layer in ("config", "domain", "render")
        for path in sorted((ROOT / "tandem" / layer).glob("*.py"))
    ]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(*(name for name in sys.modules if name.partition('.')[0] in ('pyinfra', 'pyinfra_cli', 'gevent')))"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_project_file_names_a_package_index() -> None:
    hosts = [
        ".".join(parts)
        for parts in [
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("deb", "debian", "org"),
            ("archive", "ubuntu", "com"),
            ("download", "pytorch", "org"),
            ("npmjs", "org"),
            ("crates", "io"),
            ("proxy", "golang", "org"),
        ]
    ]
    own = {"node_modules", "__pycache__", "runs"}
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(
            (part.startswith(".") and part != ".ci") or part in own for part in path.relative_to(ROOT).parts[:-1]
        )
        for host in hosts
        if host.encode() in path.read_bytes()
    ]
    assert found == []
