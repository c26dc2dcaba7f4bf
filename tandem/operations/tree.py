"""Everything that Tandem renders on a host, applied as one."""

import difflib
import json
from collections.abc import Collection, Sequence

from pyinfra import host, logger, state
from pyinfra.api import StringCommand, operation

from tandem import journal
from tandem.commands import host_program
from tandem.facts.tree import FileTexts, TreeState
from tandem.operations.live import Commands
from tandem.render.changes import Plan, plan, question
from tandem.render.tree import Tree


@operation()
def apply(tree: Tree, prune: Sequence[str] = ("/",), keep: Collection[str] = ()) -> Commands:
    """Makes the files, directories, links and groups of ``tree`` exactly what it says, in one command.

    + tree: the whole tree, or a part of it
    + prune: folders below which what Tandem owns and ``tree`` no longer has is removed; () when ``tree`` is a part
    + keep: patterns of owned paths that are left alone in any case
    """
    seen = host.get_fact(TreeState, question=question(tree))
    changes = plan(tree, seen, prune, keep)
    if changes.empty:
        host.noop(f"all {len(tree.entries) + len(tree.groups)} files, links and groups are as rendered")
        return
    if state.config.DIFF:
        _show(changes)
    for sentence in changes.sentences:
        journal.note(host, sentence)
    yield StringCommand(host_program("apply_tree"), _stdin=json.dumps(changes.payload()))


def _show(changes: Plan) -> None:
    new = {file["path"]: file["content"] for file in changes.files}
    for group in changes.groups:
        new |= {f"{group['base']}/current/{file['path']}": file["content"] for file in group["files"]}
    old = host.get_fact(FileTexts, question=sorted(new))
    for path in sorted(new):
        lines = difflib.unified_diff(old[path].splitlines(), new[path].splitlines(), path, path, lineterm="")
        for line in lines:
            logger.info(f"    {line}")
