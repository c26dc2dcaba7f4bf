"""A backup that is made ready to send for a restore, with the real age, in the process that pyinfra runs in."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tandem.operations.backup import _Key, _Sent
from tests.unit.test_backup import Key, new_key


@pytest.fixture(scope="module")
def key() -> Key:
    return new_key()


def sent(folder: Path, key: Key, public: str) -> _Sent:
    (folder / "identity").write_text(key.private)
    subprocess.run(
        ["age", "--encrypt", "--recipient", key.public, "--output", str(folder / "x.tar.age")],
        input=os.urandom(4 << 20),
        check=True,
    )
    asked = _Key("true")
    asked.public = public
    return _Sent(folder / "x.tar.age", folder / "identity", asked)


def test_a_backup_that_cannot_be_made_ready_to_send_keeps_nobody_waiting(tmp_path: Path, key: Key) -> None:
    with pytest.raises(ValueError, match=r"can't be made ready to send: malformed recipient.*Nothing was changed"):
        sent(tmp_path, key, "age1nobody").encrypt()
    with pytest.raises(ValueError, match=r"can't be opened with .*: no identity matched"):
        sent(tmp_path, replace(new_key(), public=key.public), key.public).encrypt()


def test_what_is_sent_opens_with_the_hosts_key_alone(tmp_path: Path, key: Key) -> None:
    here = new_key()
    ready = sent(tmp_path, key, here.public)
    ready.encrypt()
    (tmp_path / "host").write_text(here.private)
    opened = subprocess.run(
        ["age", "--decrypt", "--identity", str(tmp_path / "host"), str(ready.file)], capture_output=True, check=True
    )
    assert len(opened.stdout) == 4 << 20
    assert ready.folder is not None
    ready.folder.cleanup()
