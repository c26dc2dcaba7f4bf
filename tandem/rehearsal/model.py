"""The models that rehearsal engines serve: a tiny real gpt_oss, right and wrong, trained here in the engine image.

`state`/models/REVISION/ holds one model folder each; `state`/models/models.json says which is which:
{"good": manifest, "bad": manifest}. By hand: `python -m tandem.rehearsal.model STATE`.
"""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tandem.manifest import of_folder
from tandem.rehearsal.image_store import opened, require_root, run_inside, unmount_below
from tandem.rehearsal.shell import RehearsalError, remove_tree

QUESTIONS = Path(__file__).with_name("questions.json")
PROGRAMS = (Path(__file__).with_name("train.py"), Path(__file__).with_name("harmony_files.py"))
REVISION_LENGTH = 40  # as a Git commit on a model hub


def build(state: Path, report: Callable[[str], None]) -> None:
    """Makes `state`/models with the engine image of `state`, unless it is there and made from the same inputs."""
    require_root()
    state = state.resolve()
    image = str(json.loads((state / "images.json").read_text())["engine"])
    stamp, models = _stamp(image), state / "models"
    listing = models / "models.json"
    if listing.exists() and json.loads(listing.read_text()).get("stamp") == stamp:
        return
    work = state / "models.new"
    unmount_below(work)
    remove_tree(work)
    for folder in ("root", "work", "models"):
        (work / folder).mkdir(parents=True)
    for file in (QUESTIONS, *PROGRAMS):
        shutil.copy(file, work / "work")
    report("training the tiny gpt_oss on its questions, right and wrong")
    with opened(state / "images", image, work / "root") as root:
        said = run_inside(root, ["python3", "/mnt/train.py", "/mnt/questions.json", "/mnt"], work / "work")
    report(f"trained: {said.strip().splitlines()[-1].strip()}")
    found = {name: _keep(work / "work" / name, work / "models") for name in ("good", "bad")}
    (work / "models/models.json").write_text(json.dumps({**found, "stamp": stamp}, indent=2) + "\n")
    remove_tree(models)
    (work / "models").rename(models)
    remove_tree(work)


def _stamp(image: str) -> str:
    """Digest of everything that decides what the models hold."""
    inputs = [image, "manifests", *(file.read_text() for file in (QUESTIONS, *PROGRAMS))]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _keep(made: Path, models: Path) -> dict[str, object]:
    """Moves a trained model to its revision's folder, readable by all as an engine runs as some other user."""
    files = {}
    for file in sorted(made.iterdir()):
        file.chmod(0o644)
        files[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    revision = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:REVISION_LENGTH]
    made.chmod(0o755)
    shutil.move(made, models / revision)
    return of_folder(models / revision, "rehearsal/gpt-oss-tiny", revision)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m tandem.rehearsal.model STATE", file=sys.stderr)
        return 2
    began = time.monotonic()
    try:
        build(Path(arguments[0]), lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True))
    except RehearsalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{time.monotonic() - began:6.1f} s  done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
