"""What a refused run must be: a sentence, an exit status other than 0, and a host as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.deploying import Ended
from tests.faults.fingerprint import shown, touched, traces


def refused(ended: Ended, *sentences: str) -> None:
    """It ended with an exit status other than 0 after it had said each of these, and without a traceback."""
    assert ended.status not in (0, None), ended.output
    words = " ".join(ended.output.split())
    missing = [sentence for sentence in sentences if sentence.lower() not in words.lower()]
    assert not missing, f"not said: {missing}\n{ended.output}"
    assert "Traceback" not in ended.output, ended.output


@contextmanager
def nothing_changes(name: str) -> Iterator[None]:
    """Fails when a file of host ``name`` is not what it was before the block."""
    before = traces(name)
    yield
    changed = touched(before, traces(name))
    assert not changed, shown(changed)
