"""Backups: what is kept, what an archive may hold, sealed and opened by the real age, on real disks that fill up."""

import dataclasses
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tandem.config.backup import BackupConfig
from tandem.domain.backup import (
    MANIFEST,
    Entry,
    Keep,
    Manifest,
    Moment,
    Spoilt,
    age_hours,
    checked_name,
    expired,
    file_name,
    filled,
    from_record,
    made,
    to_record,
    warnings,
)
from tandem.domain.refused import Refused
from tandem.hostside import backup_archive
from tandem.hostside.backup_archive import NotSealed, describe, seal, unseal

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
HERE = Moment(NOON, "this-boot", 90_000.0)


def names(*ages_days: float) -> list[str]:
    return [file_name("gpu1", NOON - timedelta(days=days)) for days in ages_days]


def test_a_name_says_of_which_host_and_when() -> None:
    name = file_name("GPU 1.example", NOON)
    assert name == "tandem-gpu-1.example-20261121T120000Z.tar.age"
    found = made(name)
    assert found is not None
    assert (found.host, found.at) == ("gpu-1.example", NOON)
    assert made("tandem-gpu1-20269921T120000Z.tar.age") is None
    assert made(f"{name}.sha256") is None


def test_the_newest_of_each_day_week_and_month_is_kept() -> None:
    every = names(*range(400))
    gone = set(expired(every, Keep(daily=7, weekly=4, monthly=6)))
    kept = [age for age, name in enumerate(every) if name not in gone]
    assert kept[:7] == list(range(7))
    # 2026-11-21 is a Saturday: its week, and the Sundays before; then the last days of the months before.
    assert kept[7:] == [13, 20, 21, 52, 82, 113, 144]


def test_of_one_day_only_the_newest_is_kept_and_the_last_one_always() -> None:
    twice = names(0, 0.1, 0.2)
    assert expired(twice, Keep(1, 0, 0)) == [twice[2], twice[1]]
    assert expired(names(900), Keep(1, 0, 0)) == []
    assert expired(["other.txt", "tandem-x.tar.age"], Keep(1, 0, 0)) == []


def test_the_age_is_counted_by_the_clock_that_nobody_sets_while_the_boot_lasts() -> None:
    record = {"boot_id": "this-boot", "boot_seconds": 90_000.0 - 7200, "at": "1999-01-01T00:00:00+00:00"}
    assert age_hours(record, HERE) == 2
    other = {**record, "boot_id": "another", "at": (NOON - timedelta(hours=30)).isoformat()}
    assert age_hours(other, HERE) == 30
    assert age_hours({**other, "at": (NOON + timedelta(hours=1)).isoformat()}, HERE) is None
    assert age_hours({}, HERE) is None
    assert age_hours({**other, "at": "yesterday"}, HERE) is None


def test_an_old_a_failed_and_a_missing_backup_are_warned_of() -> None:
    def record(hours: float, failed: str = "") -> dict[str, Any]:
        return {"boot_id": "this-boot", "boot_seconds": 90_000.0 - 3600 * hours, "at": "", "failed": failed}

    assert warnings(True, 24, record(24.5), HERE) == []
    assert "24 hours old" not in str(warnings(True, 24, record(1), HERE))
    assert "the last backup is 25 hours old (more than 24)" in warnings(True, 24, record(25.1), HERE)[0]
    assert warnings(True, 24, record(1, "no room"), HERE) == ["the last backup failed: no room"]
    assert "there is no backup yet" in warnings(True, 24, None, HERE)[0]
    assert "give backup/recipients" in warnings(False, 24, record(1), HERE)[0]


def test_a_target_is_given_the_file() -> None:
    assert filled(["rclone", "copyto", "{file}", "far:x"], "/b/f") == ["rclone", "copyto", "/b/f", "far:x"]
    assert filled(["send"], "/b/f") == ["send", "/b/f"]


@pytest.mark.parametrize(
    "name",
    [
        "../etc/passwd",
        "/etc/passwd",
        "webui/../../x",
        "webui",
        "webui//x",
        "./webui/x",
        "other/x",
        "",
        "webui/x\0",
        "a\\b",
        "..\\x/../webui",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(Spoilt):
        checked_name(name)


def test_a_name_inside_is_taken() -> None:
    for name in (MANIFEST, "webui/webui.db", "webui/uploads/a b..c", "webui/uploads/a\\b", "secrets/keys/default"):
        assert checked_name(name) == name


@pytest.mark.parametrize(
    "recipient", ["", "age1", "AGE-SECRET-KEY-1" + "Q" * 58, "age1" + "b" * 58, "ssh-ed25519 AAAA"]
)
def test_only_a_public_key_is_a_recipient(recipient: str) -> None:
    with pytest.raises(ValidationError) as refused:
        BackupConfig(recipients=(recipient,))
    assert "what `age-keygen` prints as Public key" in str(refused.value)
    assert len(recipient) < 5 or recipient not in str(refused.value)


def test_a_key_that_age_makes_is_a_recipient(key: "Key") -> None:
    assert BackupConfig(recipients=(key.public,)).recipients == (key.public,)
    with pytest.raises(ValidationError):
        BackupConfig(recipients=())


def manifest(files: dict[str, Entry]) -> Manifest:
    return Manifest("gpu1", NOON.isoformat(), "0" * 16, "image@sha256:0", "a", 2, 3, files)


def test_a_manifest_comes_back_as_it_was() -> None:
    one = manifest({"webui/webui.db": Entry(5, "a" * 64, "0600")})
    assert from_record(json.loads(json.dumps(to_record(one)))) == one


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": "1"},
        {"users": -1},
        {"users": True},
        {"host": None},
        {"files": []},
        {"files": {"../x": {"size": 1, "sha256": "a" * 64, "mode": "0600"}}},
        {"files": {"webui/x": {"size": 1, "sha256": "a" * 64, "mode": "4755"}}},
        {"files": {"webui/x": {"size": 1, "sha256": "a", "mode": "0600"}}},
        {"files": {MANIFEST: {"size": 1, "sha256": "a" * 64, "mode": "0600"}}},
    ],
)
def test_a_manifest_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Spoilt):
        from_record({**to_record(manifest({})), **change})


@dataclasses.dataclass(frozen=True)
class Key:
    public: str
    private: str


def new_key() -> Key:
    text = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout
    return Key(text.split("public key: ")[1].split()[0], text)


@pytest.fixture(scope="module")
def key() -> Key:
    if not shutil.which("age"):
        pytest.fail("age is not installed: make packages")
    return new_key()


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "sources"
    (folder / "uploads").mkdir(parents=True)
    (folder / "webui.db").write_bytes(os.urandom(300_000))
    (folder / "uploads/a b.pdf").write_bytes(b"a page that nobody else may read")
    (folder / "empty").write_bytes(b"")
    return {f"webui/{path.relative_to(folder)}": path for path in folder.rglob("*") if path.is_file()}


def sealed(sources: dict[str, Path], key: Key, target: Path) -> Manifest:
    one = manifest({name: describe(path) for name, path in sources.items()})
    seal(one, sources, [key.public], target)
    return one


def taken(tmp_path: Path) -> Path:
    folder = tmp_path / "taken"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def test_what_was_sealed_is_opened_with_the_key_and_only_with_it(
    sources: dict[str, Path], key: Key, tmp_path: Path
) -> None:
    target = tmp_path / "b.tar.age"
    one = sealed(sources, key, target)
    assert b"nobody else may read" not in target.read_bytes()
    assert oct(target.stat().st_mode)[-3:] == "600"
    folder = taken(tmp_path)
    assert unseal(target, key.private, folder) == one
    for name, path in sources.items():
        assert (folder / name).read_bytes() == path.read_bytes()
    with pytest.raises(Refused, match="not one of those that it was encrypted to"):
        unseal(target, new_key().private, taken(tmp_path))
    with pytest.raises(Refused, match="no private key") as refused:
        unseal(target, "a secret that is no key", taken(tmp_path))
    assert "a secret" not in str(refused.value)


def test_a_backup_that_was_cut_or_changed_is_refused(sources: dict[str, Path], key: Key, tmp_path: Path) -> None:
    target = tmp_path / "b.tar.age"
    sealed(sources, key, target)
    whole = target.read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], whole[:200_000] + b"\0" + whole[200_001:], whole[:-70_000]):
        target.write_bytes(broken)
        with pytest.raises(Refused, match="Nothing was changed"):
            unseal(target, key.private, taken(tmp_path))


def forged(members: list[tuple[tarfile.TarInfo, bytes]], key: Key, target: Path) -> None:
    """An archive that somebody with the public key has made."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    command = ["age", "--encrypt", "--recipient", key.public, "--output", str(target)]
    subprocess.run(command, input=plain.getvalue(), check=True)


def first(files: dict[str, bytes]) -> tuple[tarfile.TarInfo, bytes]:
    entries = {name: Entry(len(text), hashlib.sha256(text).hexdigest(), "0600") for name, text in files.items()}
    return tarfile.TarInfo(MANIFEST), json.dumps(to_record(manifest(entries))).encode()


def link(name: str, to: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, to
    return member


def sparse(name: str, size: int) -> tuple[tarfile.TarInfo, bytes]:
    """A file of so many zeros, of which the archive holds none."""
    member = tarfile.TarInfo("x")
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": name,
        "GNU.sparse.realsize": str(size),
    }
    return member, b"0\n".ljust(tarfile.BLOCKSIZE, b"\0")


def test_a_few_bytes_do_not_fill_the_disk(key: Key, tmp_path: Path) -> None:
    forged([first({"webui/a": bytes(1 << 20)}), sparse("webui/a", 1 << 20)], key, tmp_path / "b.tar.age")
    with pytest.raises(Refused, match="no plain file"):
        unseal(tmp_path / "b.tar.age", key.private, taken(tmp_path))


def test_a_forged_archive_writes_nothing_outside_of_its_folder(key: Key, tmp_path: Path) -> None:
    target = tmp_path / "b.tar.age"
    good = {"webui/a": b"text"}
    outside = tmp_path / "outside"
    cases: dict[str, list[tuple[tarfile.TarInfo, bytes]]] = {
        "a file named": [first(good), (tarfile.TarInfo("../outside"), b"text")],
        "a file named '/": [first(good), (tarfile.TarInfo(str(outside)), b"text")],
        "no plain file": [first(good), (link("webui/a", str(outside)), b"")],
        "not in its manifest": [first(good), (tarfile.TarInfo("webui/b"), b"text")],
        "or twice": [first(good), (tarfile.TarInfo("webui/a"), b"text"), (tarfile.TarInfo("webui/a"), b"text")],
        "is not what its manifest says": [first(good), (tarfile.TarInfo("webui/a"), b"tex!")],
        "another size": [first(good), (tarfile.TarInfo("webui/a"), b"text and more")],
        "is missing in it": [first(good)],
        "does not begin with a manifest": [(tarfile.TarInfo("webui/a"), b"text"), first(good)],
        "no manifest": [(tarfile.TarInfo(MANIFEST), b"{}")],
    }
    for problem, members in cases.items():
        forged(members, key, target)
        with pytest.raises(Refused) as refused:
            unseal(target, key.private, taken(tmp_path))
        assert problem in str(refused.value)
        assert not outside.exists()
    forged([first(good), (tarfile.TarInfo("webui/a"), b"text")], key, target)
    unseal(target, key.private, taken(tmp_path))


def test_what_is_no_backup_has_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PK\3\4 something else")
    with pytest.raises(Refused, match="is no backup"):
        backup_archive.checksum(tmp_path / "x")


def test_what_could_not_be_taken_out_again_is_not_sealed(key: Key, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    one = manifest({"elsewhere/x": describe(tmp_path / "x")})
    with pytest.raises(NotSealed, match="could not be restored: it holds a file named 'elsewhere/x'"):
        seal(one, {"elsewhere/x": tmp_path / "x"}, [key.public], tmp_path / "b.tar.age")
    assert not list(tmp_path.glob("*b.tar.age*"))


def test_a_wrong_recipient_leaves_no_file(sources: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "b.tar.age"
    one = manifest({name: describe(path) for name, path in sources.items()})
    with pytest.raises(NotSealed, match="age failed"):
        seal(one, sources, ["age1nobody"], target)
    assert not list(tmp_path.glob("*b.tar.age*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a disk of its own takes root")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "tandem-test", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_no_half_backup(sources: dict[str, Path], key: Key, small_disk: Path) -> None:
    sources["webui/webui.db"].write_bytes(os.urandom(3 << 20))
    with pytest.raises(NotSealed, match="no space left"):
        sealed(sources, key, small_disk / "b.tar.age")
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_while_taking_out_is_said(
    sources: dict[str, Path], key: Key, small_disk: Path, tmp_path: Path
) -> None:
    sources["webui/webui.db"].write_bytes(os.urandom(3 << 20))
    sealed(sources, key, tmp_path / "b.tar.age")
    folder = small_disk / "taken"
    folder.mkdir()
    with pytest.raises(OSError, match="No space left"):
        unseal(tmp_path / "b.tar.age", key.private, folder)


def test_killed_while_sealing_there_is_no_backup_and_the_next_one_is_made(
    sources: dict[str, Path], key: Key, tmp_path: Path
) -> None:
    sources["webui/webui.db"].write_bytes(os.urandom(200 << 20))
    target = tmp_path / "b.tar.age"
    program = (
        "import sys; from pathlib import Path; from tests.unit.test_backup import Key, sealed; "
        "sealed({'webui/webui.db': Path(sys.argv[1])}, Key(sys.argv[2], ''), Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", program, str(sources["webui/webui.db"]), key.public, str(target)]
    half = tmp_path / ".b.tar.age.sealing"
    with subprocess.Popen(command, start_new_session=True) as sealing:
        deadline = time.monotonic() + 30
        while not (half.exists() and half.stat().st_size > 1 << 20) and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(sealing.pid, signal.SIGKILL)
    assert half.exists()
    assert not target.exists()
    sources["webui/webui.db"].write_bytes(b"small now")
    sealed(sources, key, target)
    assert not half.exists()
    unseal(target, key.private, taken(tmp_path))
