"""Everything about one rollout, read from real files; the samples are another user's."""

import json
import os
from pathlib import Path

from tandem.domain.rollout import Past, Slot, State, Webui
from tandem.hostside import state
from tandem.hostside.paths import Paths
from tandem.hostside.reporting import report

ID = "20261101-000000-new"


def test_samples_that_are_a_link_or_a_pipe_are_none(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.prober.mkdir(parents=True)
    slots = {"blue": Slot("new", "0" * 16, (18100,), 100, (18100,))}
    past = Past(ID, "finished", "", "then", "old", "1" * 16, "", "")
    state.save(paths.state, State("blue", slots, Webui("blue", 18300), past=past))
    samples, secret = paths.prober / f"{ID}.jsonl", tmp_path / "secret.json"
    secret.write_text(json.dumps({"password": "x"}) + "\n")
    samples.symlink_to(secret)
    assert report(None, paths)["samples"] == []
    samples.unlink()
    os.mkfifo(samples)
    assert report(None, paths)["samples"] == []
    samples.unlink()
    samples.write_text(json.dumps({"step": 1}) + "\nhalf a l")
    assert report(None, paths)["samples"] == [{"step": 1}]
