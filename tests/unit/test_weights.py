"""Model files, really fetched into a temporary folder by the program as it travels to a host."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tandem.commands import program_source
from tandem.domain.weights import progress, unused, wait_seconds
from tandem.hostside.model_folders import mounted
from tests.unit.hub import REPOSITORY, REVISION, Fault, Hub, hub, manifest_files, model, safetensors, sha256

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
OTHER = "b" * 40


@dataclass
class Place:
    """A weights folder on a host, and the model that is wanted there."""

    root: Path
    files: dict[str, bytes] = field(default_factory=model)

    @property
    def weights(self) -> Path:
        return self.root / "weights"

    @property
    def manifest(self) -> dict[str, Any]:
        return manifest_files(self.files)

    def job(self, *sources: dict[str, Any], **changes: Any) -> str:
        job = {
            "directory": str(self.weights),
            "repository": REPOSITORY,
            "revision": REVISION,
            "files": self.manifest,
            "sources": list(sources),
            "parallel_downloads": 2,
            "stall_timeout_seconds": 1,
            "first_wait_seconds": 0.05,
        }
        return json.dumps({**job, **changes})

    def fetch(self, *sources: dict[str, Any], **changes: Any) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-I", "-c", program_source("fetch_weights")]
        return subprocess.run(command, input=self.job(*sources, **changes), capture_output=True, text=True, timeout=60)

    def look(self, revision: str = REVISION, files: dict[str, Any] | None = None) -> dict[str, Any]:
        question = {"directory": str(self.weights), "models": {revision: files or self.manifest}}
        answer: dict[str, Any] = run("observe_weights", question)[revision]
        return answer

    def folder(self, name: str = "source", files: dict[str, bytes] | None = None) -> dict[str, Any]:
        """A folder source that has these files."""
        for file, data in (self.files if files is None else files).items():
            path = self.root / name / REVISION / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o600)
        return {"kind": "folder", "path": str(self.root / name)}

    def published(self, name: str, revision: str = REVISION) -> Path:
        return self.weights / revision / name

    def part(self, name: str) -> Path:
        return self.weights / f".incoming-{REVISION}" / f"{name}.part"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine is set to: loopback is asked directly."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


def run(program: str, question: Any) -> Any:
    command = [sys.executable, "-I", "-c", program_source(program), json.dumps(question)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


PUBLISHED = {"published": True, "wrong": [], "unrecorded": []}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def there() -> Iterator[Hub]:
    with hub() as one:
        yield one


def is_published(place: Place, done: "subprocess.CompletedProcess[str]") -> bool:
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: place.published(name).read_bytes() for name in place.manifest} == {
        name: place.files[name] for name in place.manifest
    }
    assert sorted(path.name for path in place.weights.iterdir() if path.name != "quarantine") == [".lock", REVISION]
    return place.look() == PUBLISHED


def kinds(place: Place, there: Hub) -> dict[str, dict[str, Any]]:
    return {"huggingface": there.huggingface, "modelscope": there.modelscope, "http": there.http}


def test_a_model_is_published_whole_and_readable_by_engines(place: Place) -> None:
    assert place.look() == {"published": False, "wrong": list(place.manifest), "unrecorded": []}
    source = place.folder()
    for _ in range(2):
        assert is_published(place, place.fetch(source))
    assert place.published("config.json").stat().st_mode & 0o777 == 0o644
    assert place.published("config.json").parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("kind", ["huggingface", "modelscope", "http"])
def test_a_model_comes_from_each_kind_of_server(place: Place, there: Hub, kind: str) -> None:
    done = place.fetch(kinds(place, there)[kind])
    assert is_published(place, done)
    assert "fetching 7 files" in done.stdout
    assert f"published 7 files at {place.weights}/{REVISION}" in done.stdout
    assert not [headers for _, headers in there.asked if {"Authorization", "Cookie"} & headers.keys()]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("top", ["", "./", "gpt-oss-20b/"])
def test_a_model_comes_from_an_archive(place: Place, mode: str, top: str) -> None:
    archive = place.root / "model.tar"
    source = place.folder()
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        for path in sorted((Path(source["path"]) / REVISION).rglob("*")):
            if path.is_file():
                tar.add(path, f"{top}{path.relative_to(Path(source['path']) / REVISION)}")
    assert is_published(place, place.fetch({"kind": "archive", "path": str(archive)}))


def test_the_copies_in_an_archive_are_not_taken_for_the_model(place: Place) -> None:
    """original/config.json stands in a folder as well."""
    place.files["original/config.json"] = b"x" * len(place.files["config.json"])
    test_a_model_comes_from_an_archive(place, "w", "")


def test_an_archive_that_is_none_is_said(place: Place) -> None:
    (place.root / "model.tar").write_text("not an archive")
    done = place.fetch({"kind": "archive", "path": str(place.root / "model.tar")})
    assert done.returncode == 1
    assert f"archive {place.root}/model.tar: it can't be read" in done.stderr


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_half_an_archive_is_said_and_the_next_source_used(place: Place, mode: str) -> None:
    archive, source = place.root / "model.tar", place.folder()
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        tar.add(Path(source["path"]) / REVISION, "")
    os.truncate(archive, archive.stat().st_size // 2)
    broken = {"kind": "archive", "path": str(archive)}
    said = place.fetch(broken).stderr
    assert f"archive {archive}: " in said
    assert "Traceback" not in said
    assert is_published(place, place.fetch(broken, source))


def test_the_environments_proxy_is_used(place: Place, there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's stand-in answers as a proxy does: it is asked for whole addresses."""
    monkeypatch.setenv("http_proxy", there.address)
    monkeypatch.setenv("no_proxy", "")
    assert is_published(place, place.fetch({"kind": "http", "url": "http://hub.invalid/plain"}))
    assert {path.split("/plain")[0] for path, _ in there.asked} == {"http://hub.invalid"}


def test_modelscope_is_used_when_its_branch_has_the_same_files(place: Place, there: Hub) -> None:
    """Its commits are not the hub's: what is the same is found by hash, and what is not is left alone."""
    there.files["config.json"] = b"[" + there.files["config.json"][1:]
    done = place.fetch(there.modelscope, place.folder("rest", {"config.json": place.files["config.json"]}))
    assert is_published(place, done)
    assert "config.json" not in [name for name, _ in there.requests]


def test_modelscope_may_have_the_model_under_another_name(place: Place, there: Hub) -> None:
    done = place.fetch({**there.modelscope, "repository": REPOSITORY}, repository="openai/gpt-oss-20b")
    assert is_published(place, done)


def test_each_source_gives_what_the_ones_before_it_did_not_have(place: Place, there: Hub) -> None:
    del there.files[SECOND]
    done = place.fetch(
        place.folder("nearby", {"config.json": place.files["config.json"]}), there.huggingface, place.folder("last")
    )
    assert is_published(place, done)
    assert "config.json" not in [name for name, _ in there.requests]
    assert {FIRST, "tokenizer.json"} <= {name for name, _ in there.requests}
    assert done.stdout.count("verified after") == 7


def test_no_source_is_said_with_what_each_answered(place: Place, there: Hub) -> None:
    del there.files["config.json"]
    del there.files[FIRST]
    done = place.fetch({"kind": "folder", "path": "/nowhere"}, there.huggingface)
    assert done.returncode == 1
    assert f"no source gave 2 of 7 files of model revision {REVISION} ({FIRST}, config.json)" in done.stderr
    assert f"folder /nowhere/{REVISION}: {FIRST}: it is not there" in done.stderr
    assert f"huggingface {there.address}: {FIRST}: HTTP 404 EntryNotFound" in done.stderr
    assert "nothing was published, and what came is kept" in done.stderr
    assert not place.look()["published"]


def test_a_file_of_another_size_is_not_fetched_at_all(place: Place, there: Hub) -> None:
    there.files[FIRST] += b"more"
    before = len(place.files[FIRST])
    done = place.fetch(there.huggingface)
    assert f"it has {before + 4} bytes there, the manifest says {before}" in done.stderr
    assert is_published(place, place.fetch(there.huggingface, place.folder()))


def test_right_size_but_wrong_bytes_is_fatal_and_quarantined_apart(place: Place, there: Hub) -> None:
    size = len(place.files["config.json"])
    for wrong in (b"x" * size, b"y" * size, b"y" * size):
        there.faults["config.json"] = Fault(data=wrong)
        done = place.fetch(there.huggingface, place.folder())
        assert done.returncode == 1
        assert f"{there.address}: config.json: its SHA-256 is {sha256(wrong)}, the release says" in done.stderr
        assert "nothing was published" in done.stderr
        assert not place.look()["published"]
    kept = sorted((place.weights / "quarantine").iterdir())
    assert sorted(path.read_bytes()[:1] for path in kept) == [b"x", b"y"]
    there.faults.clear()
    assert is_published(place, place.fetch(there.huggingface))


def test_a_stalled_download_goes_on_where_it_stopped(place: Place, there: Hub) -> None:
    there.faults[FIRST] = Fault(stall_after=128 * 1024, times=1)
    done = place.fetch(there.huggingface)
    assert is_published(place, done)
    assert f"{FIRST}: it sent nothing for 1 s; try 2 of 5" in done.stdout
    assert there.ranges(FIRST) == [None, f"bytes={128 * 1024}-"]


def test_a_truncated_download_goes_on_where_it_stopped(place: Place, there: Hub) -> None:
    there.faults[FIRST] = Fault(cut_after=100_000, times=2)
    assert is_published(place, place.fetch(there.huggingface))
    assert there.ranges(FIRST) == [None, "bytes=100000-", "bytes=200000-"]


def test_a_source_that_ignores_range_is_read_anew(place: Place, there: Hub) -> None:
    part = place.part(FIRST)
    part.parent.mkdir(parents=True)
    part.write_bytes(place.files[FIRST][:50_000])
    there.faults[FIRST] = Fault(no_range=True)
    assert is_published(place, place.fetch(there.huggingface))
    assert there.ranges(FIRST) == ["bytes=50000-"]


@pytest.mark.parametrize("left", [b"wrong bytes of a power cut", b"\0" * 10**6], ids=["pieces", "too long"])
def test_a_part_that_does_not_fit_is_fetched_anew_at_once(place: Place, there: Hub, left: bytes) -> None:
    part = place.part(FIRST)
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    done = place.fetch(there.huggingface)
    assert is_published(place, done)
    assert ("its pieces do not make the whole" in done.stdout) == (len(left) < len(place.files[FIRST]))


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "1"}, {"RateLimit": '"resolvers";r=0;t=1'}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}],
)
def test_too_many_requests_are_answered_with_the_asked_patience(
    place: Place, there: Hub, headers: dict[str, str]
) -> None:
    there.faults["config.json"] = Fault(status=429, headers=headers, times=2)
    began = time.monotonic()
    done = place.fetch(there.huggingface)
    assert is_published(place, done)
    assert "config.json: HTTP 429 Too Many Requests" in done.stdout
    assert time.monotonic() - began > (0 if "2015" in str(headers) else 2)


def test_a_source_that_asks_for_too_much_patience_is_left(place: Place, there: Hub) -> None:
    there.faults["config.json"] = Fault(status=429, headers={"Retry-After": "86400"})
    assert "HTTP 429 Too Many Requests, wait 86400 s (1 try)" in place.fetch(there.huggingface).stderr
    assert is_published(place, place.fetch(there.huggingface, place.folder()))


def test_a_failing_server_is_tried_a_bounded_number_of_times(place: Place, there: Hub) -> None:
    there.faults[FIRST] = Fault(status=503)
    done = place.fetch(there.huggingface)
    assert "HTTP 503 Service Unavailable (5 tries)" in done.stderr
    assert len(there.ranges(FIRST)) == 5
    there.faults[FIRST] = Fault(status=500, times=4)
    assert is_published(place, place.fetch(there.huggingface))


@pytest.mark.parametrize("status", [401, 403])
def test_a_source_that_wants_a_login_is_said(place: Place, there: Hub, status: int) -> None:
    there.faults["config.json"] = Fault(status=status)
    assert "it asks for a login, and no credentials are sent" in place.fetch(there.huggingface).stderr
    assert there.requests.count(("config.json", None)) == 1


def test_a_source_that_nobody_answers_at_is_not_asked_for_every_file(place: Place) -> None:
    with hub() as gone:
        pass
    done = place.fetch(gone.huggingface, parallel_downloads=1)
    assert "cannot connect (Connection refused) (5 tries)" in done.stderr
    assert done.stdout.count("try 2 of 5") == 1
    assert is_published(place, place.fetch(gone.huggingface, place.folder()))


def test_no_more_files_than_configured_are_downloaded_at_the_same_time(place: Place, there: Hub) -> None:
    there.files = place.files = {**place.files, **{f"extra-{n}.safetensors": safetensors(400_000, n) for n in range(6)}}
    there.seconds_per_piece = 0.05
    assert is_published(place, place.fetch(there.huggingface, parallel_downloads=3))
    assert there.most == 3


def test_too_little_room_is_said_before_anything_is_fetched(place: Place, there: Hub) -> None:
    files = {**place.manifest, "huge.safetensors": {"bytes": 10**16, "sha256": "0" * 64}}
    done = place.fetch(there.huggingface, files=files)
    assert done.returncode == 1
    assert " free and 9778887.0 GiB is needed for 8 files; nothing was fetched" in done.stderr
    assert there.asked == []


def test_a_disk_that_is_not_mounted_is_never_filled(place: Place, there: Hub) -> None:
    done = place.fetch(there.huggingface, mounted=True)
    assert f"{place.weights} is not mounted" in done.stderr
    assert not place.weights.exists()


def test_a_disk_that_takes_no_more_is_said_and_what_came_is_kept(place: Place, there: Hub) -> None:
    command = [sys.executable, "-I", "-c", program_source("fetch_weights")]
    limited = ["prlimit", "--fsize=150000", *command]
    done = subprocess.run(limited, input=place.job(there.huggingface), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "File too large; nothing was published, and what came is kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert is_published(place, place.fetch(there.huggingface))
    assert "bytes=150000-" in there.ranges(FIRST)


KILLS = 5


def test_a_download_killed_at_five_points_ends_with_the_same_hashes_and_sends_little_twice(place: Place) -> None:
    place.files = {**model(100), FIRST: safetensors(6_000_000, 1), SECOND: safetensors(4_000_000, 2)}
    total = sum(file["bytes"] for file in place.manifest.values())
    with hub(place.files) as there:
        for point in range(KILLS):
            there.pause_at = int(total * (0.01 + 0.245 * point))
            killed_while_paused(place, there)
            assert not place.look()["published"]
        there.pause_at = None
        assert is_published(place, place.fetch(there.huggingface))
        resumed = [asked for name in (FIRST, SECOND) for asked in there.ranges(name) if asked]
        print(f"{there.sent} bytes sent for {total}, resumed with {resumed}")
        assert len(resumed) >= KILLS
        assert there.sent - total < total / 20


def test_killed_at_any_moment_the_next_run_converges(place: Place) -> None:
    """Whenever it dies, also while it hashes or publishes: a model that is there is whole."""
    place.files = {**model(100), FIRST: safetensors(3_000_000, 1), SECOND: safetensors(2_000_000, 2)}
    chance = random.Random(seed := int(os.environ.get("TANDEM_SEED") or time.time_ns() % 10**6))  # noqa: S311
    print(f"TANDEM_SEED={seed}")
    command = [sys.executable, "-I", "-c", program_source("fetch_weights")]
    published = 0
    with hub(place.files) as there:
        began = time.monotonic()
        assert is_published(place, place.fetch(there.huggingface))
        whole_run = time.monotonic() - began
        for _ in range(12):
            if place.look()["published"]:
                published += 1
                shutil.rmtree(place.published(""))
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as program:
                assert program.stdin
                program.stdin.write(place.job(there.huggingface))
                program.stdin.close()
                time.sleep(chance.uniform(0.2, 1) * whole_run)
                program.kill()
            found = place.look()
            assert not found["wrong"] or not found["published"]
        assert is_published(place, place.fetch(there.huggingface))
    print(f"a whole run takes {whole_run:.2f} s; {published} of 12 were published when killed")


def test_progress_is_said_while_it_goes_on(place: Place) -> None:
    place.files = {**model(100), FIRST: safetensors(2_000_000, 1)}
    with hub(place.files) as there:
        there.seconds_per_piece = 0.2
        done = place.fetch(there.huggingface)
    assert is_published(place, done)
    line = r"1\.\d MiB of 1\.9 MiB \(\d\d %\), \d+\.\d KiB/s, \d s left"
    assert re.search(line, done.stdout), done.stdout


def killed_while_paused(place: Place, there: Hub) -> None:
    """kill -9 of the real program while the hub holds back the next piece."""
    there.paused.clear()
    there.go_on.clear()
    command = [sys.executable, "-I", "-c", program_source("fetch_weights")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as program:
        assert program.stdin
        program.stdin.write(place.job(there.huggingface, stall_timeout_seconds=30))
        program.stdin.close()
        assert there.paused.wait(20)
        time.sleep(0.3)  # until what was sent is written
        program.send_signal(signal.SIGKILL)
    there.pause_at = None
    there.go_on.set()


def test_two_runs_at_the_same_time_do_not_disturb_each_other(place: Place, there: Hub) -> None:
    there.faults[FIRST] = Fault(stall_after=64 * 1024, times=1)
    command = [sys.executable, "-I", "-c", program_source("fetch_weights")]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for one in runs:
        assert one.stdin
        one.stdin.write(place.job(there.huggingface))
        one.stdin.close()
    for one in runs:
        assert one.stdout
        one.stdout.read()
        assert one.wait(30) == 0
    assert place.look() == PUBLISHED
    assert len(there.ranges(FIRST)) == 2  # stalled, resumed


@pytest.mark.parametrize("damage", ["changed", "same size", "removed"])
def test_a_file_changed_by_hand_is_seen_and_only_it_is_repaired(place: Place, there: Hub, damage: str) -> None:
    place.fetch(place.folder())
    changed, config = place.published(FIRST), place.published("config.json")
    untouched = config.stat().st_ino
    if damage == "removed":
        changed.unlink()
    else:
        changed.write_bytes(b"by hand" if damage == "changed" else bytes(len(place.files[FIRST])))
    assert place.look() == {"published": True, "wrong": [FIRST], "unrecorded": []}
    assert is_published(place, place.fetch(there.huggingface))
    assert config.stat().st_ino == untouched
    assert [name for name, _ in there.requests] == [FIRST]


def test_a_right_file_of_another_time_is_recorded_and_not_fetched(place: Place) -> None:
    place.fetch(place.folder())
    os.utime(place.published(FIRST))
    assert place.look() == {"published": True, "wrong": [], "unrecorded": [FIRST]}
    assert is_published(place, place.fetch())


def share(place: Place, there: Hub) -> None:
    """Publishes REVISION, then OTHER, which differs from it in config.json."""
    place.fetch(there.huggingface)
    changed = {**place.files, "config.json": b'{"model_type": "another"}'}
    for name, data in changed.items():
        path = place.root / "other" / OTHER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    source = {"kind": "folder", "path": str(place.root / "other")}
    done = place.fetch(source, revision=OTHER, files=manifest_files(changed))
    assert done.returncode == 0, done.stderr
    assert f"{FIRST}: 293.1 KiB shared with another model" in done.stdout
    assert "fetching 1 files" in done.stdout
    assert place.look(OTHER, manifest_files(changed)) == PUBLISHED


def test_several_models_share_equal_files_on_disk(place: Place, there: Hub) -> None:
    share(place, there)
    assert place.published(FIRST).stat().st_ino == place.published(FIRST, OTHER).stat().st_ino
    assert place.look() == PUBLISHED  # a link changes a file's ctime; nothing is hashed again for that


def test_removing_one_of_two_models_leaves_the_other_whole(place: Place, there: Hub) -> None:
    share(place, there)
    found = run("observe_models", {"directory": str(place.weights)})
    assert found["mounted"] == []
    own = found["folders"][REVISION]
    assert 0 < own < 10_000  # config.json and the record: the rest is shared
    question = {"directory": str(place.weights), "folders": [OTHER]}
    command = [sys.executable, "-I", "-c", program_source("remove_weights"), json.dumps(question)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"removed {place.weights}/{OTHER}" in done.stdout
    assert is_published(place, done)


def test_a_removal_cut_short_is_seen_and_finished(place: Place) -> None:
    place.fetch(place.folder())
    place.published("").rename(place.weights / f".removing-{REVISION}")
    found = run("observe_models", {"directory": str(place.weights)})
    assert list(found["folders"]) == [f".removing-{REVISION}"]
    question = {"directory": str(place.weights), "folders": list(found["folders"])}
    command = [sys.executable, "-I", "-c", program_source("remove_weights"), json.dumps(question)]
    subprocess.run(command, check=True, capture_output=True)
    assert [path.name for path in place.weights.iterdir()] == [".lock"]


def test_what_units_and_processes_use_is_found(tmp_path: Path) -> None:
    (tmp_path / "vllm-blue-0.container").write_text(f"[Container]\nVolume=/srv/weights/{REVISION}:/model:ro\n")
    (tmp_path / "mountinfo").write_text(f"36 35 98:0 /{OTHER} /model ro - ext4 /dev/nvme1n1 rw\n")
    names = [REVISION, f".incoming-{OTHER}", "c" * 40]
    assert mounted(names, str(tmp_path / "*.container"), str(tmp_path / "mountinfo")) == {REVISION, OTHER}


def test_only_what_nothing_needs_may_be_removed() -> None:
    folders = {"a" * 40: 1, "b" * 40: 2, f".incoming-{'c' * 40}": 4, f".incoming-{'a' * 40}": 8, "d" * 40: 16}
    found = unused(folders, declared=["a" * 40], mounted=["b" * 40], undeclared=[])
    assert found.folders == {f".incoming-{'c' * 40}": 4, "d" * 40: 16}
    assert found.bytes == 20
    # A release on record that is not declared: its unit says which model it needs; without one nobody knows.
    assert unused(folders, ["a" * 40], ["b" * 40], ["old"]).folders == found.folders
    none = unused(folders, ["a" * 40], ["a" * 40], ["old"])
    assert (none.folders, none.bytes) == ({}, 0)
    assert "release old is on record" in str(none.why_none)


def test_waits_grow_follow_the_source_and_end() -> None:
    assert [wait_seconds(tries, None, 1) for tries in range(1, 6)] == [1, 2, 4, 8, None]
    assert wait_seconds(1, 55, 1) == 55
    assert wait_seconds(1, 3600, 1) is None


def test_a_progress_line_has_bytes_share_speed_and_time_left() -> None:
    gib = 2**30
    assert progress(3 * gib, 12 * gib, 90 * 2**20) == "3.0 GiB of 12.0 GiB (25 %), 90.0 MiB/s, 1 min 42 s left"
    assert progress(0, 12 * gib, 0) == "0 B of 12.0 GiB (0 %), 0 B/s"
