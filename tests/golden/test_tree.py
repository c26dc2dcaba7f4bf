"""What a host gets is reviewed as text: any change of it shows as a diff of tests/golden/tree."""

import difflib
import shutil
from pathlib import Path

import pytest

from tandem.domain import secrets
from tandem.domain.slots import FIRST_SLOT
from tandem.render.tree import File, Generated
from tests.golden.rendered import PROGRAM, as_texts, example, rendered

GOLDEN = Path(__file__).parent / "tree"
UPDATE = "if that is meant: pytest tests/golden --update-golden, and review the diff"


def test_the_rendered_tree_is_the_reviewed_one(request: pytest.FixtureRequest) -> None:
    texts = as_texts(rendered(example(), FIRST_SLOT))
    if request.config.getoption("--update-golden", default=False):
        rewrite(texts)
    reviewed = {str(path.relative_to(GOLDEN)): path.read_text() for path in GOLDEN.rglob("*") if path.is_file()}
    difference = [
        line
        for path in sorted(texts.keys() | reviewed.keys())
        for line in difflib.unified_diff(
            reviewed.get(path, "").splitlines(), texts.get(path, "").splitlines(), f"reviewed/{path}", path, lineterm=""
        )
    ]
    assert not difference, "\n".join([*difference, UPDATE])
    assert reviewed.keys() == texts.keys(), UPDATE


def rewrite(texts: dict[str, str]) -> None:
    if GOLDEN.exists():
        shutil.rmtree(GOLDEN)
    for path, text in texts.items():
        (GOLDEN / path).parent.mkdir(parents=True, exist_ok=True)
        (GOLDEN / path).write_text(text)


def test_rendering_twice_gives_the_same_tree() -> None:
    assert as_texts(rendered(example(), FIRST_SLOT)) == as_texts(rendered(example(), FIRST_SLOT))


def test_every_secret_is_rendered_without_content() -> None:
    config = example()
    entries = rendered(config, FIRST_SLOT).entries
    below = {path: entry for path, entry in entries.items() if path.startswith(f"{secrets.ROOT}/")}
    assert below.keys() == {path for path, _, _, _ in secrets.paths(config.edge.users, config.edge.clients)}
    assert {type(entry) for entry in below.values()} == {Generated}


def test_no_rendered_file_is_writable_by_others_or_owned_by_a_service_user() -> None:
    tree = rendered(example(), FIRST_SLOT)
    files = {path: entry for path, entry in tree.entries.items() if isinstance(entry, File)}
    for group in tree.groups:
        files |= {f"{group.base}/{name}": file for name, file in group.files.items()}
    assert files
    assert any(path.startswith(PROGRAM) for path in files)
    loose = {path for path, file in files.items() if int(file.mode, 8) & 0o022 or (file.uid, file.gid) != (0, 0)}
    assert not loose
