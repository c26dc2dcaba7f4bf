"""The image of the engine with knobs: a few modules of this tree, at their own names, started as a command."""

from pathlib import Path
from typing import Final

from tandem.rehearsal.packages import SITE_PACKAGES
from tandem.rehearsal.recipes import Recipe

PROGRAM: Final = "tandem.rehearsal.programs.knobs.engine"
HERE: Final = Path(__file__).parent
PACKAGES: Final = ("tandem", "tandem/rehearsal", "tandem/rehearsal/programs", "tandem/rehearsal/programs/knobs")


def files() -> tuple[tuple[str, str], ...]:
    """(path in the image, text); the packages that the modules stand in are empty there."""
    sources = [HERE / "serving.py", HERE / "questions.json"]
    sources += sorted(path for path in (HERE / "programs/knobs").iterdir() if path.suffix in (".py", ".json"))
    modules = [(str(path.relative_to(HERE.parents[1])), path.read_text()) for path in sources]
    empty = [(f"{package}/__init__.py", "") for package in PACKAGES]
    return tuple(sorted((f"{SITE_PACKAGES}/{path}", text) for path, text in {**dict(modules), **dict(empty)}.items()))


KNOBS = Recipe(
    name="knobs",
    title="engine with knobs",
    version="1",
    locks=(),
    dropped=(),
    command=("knobs", PROGRAM, "main"),
    imports=(PROGRAM,),
    settings=('--entrypoint=["knobs"]', "--cmd=", "--workingdir=/", "--port=8000"),
    environment={},
    files=files(),
)
