"""The library of prompts that Open WebUI offers to everybody."""

from collections.abc import Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from tandem import journal
from tandem.commands import host_program
from tandem.facts.prompts import PromptsState
from tandem.operations.live import Commands, LiveCommand


@operation()
def offer(wanted: Mapping[str, str], library: str, access: Mapping[str, str]) -> Commands:
    """Makes missing prompts and brings those up to date that nobody touched; what people changed or removed stays so.

    + wanted: {command: digest} of ``library``
    + library: the file with the prompts on the host
    + access: how to sign in, and where the record is, as ``tandem.hostside.prompts`` reads it; no secret
    """
    if not wanted:
        host.noop("no prompts are wanted")
        return
    seen = host.get_fact(PromptsState, question={**access, "wanted": dict(wanted)})
    if seen["why"] and not seen["later"]:
        journal.remark(host, f"the prompts were left as they are: {seen['why']}")
        host.noop(seen["why"])
        return
    if not seen["why"] and not any(seen[kind] for kind in ("create", "update", "remember", "kept")):
        host.noop(f"all {len(wanted)} prompts were offered, and what people made of them is theirs")
        return
    for sentence in seen["kept"]:
        journal.remark(host, sentence)
    journal.note(host, _sentence(seen) if not seen["why"] else f"offers {len(wanted)} prompts")
    yield LiveCommand(host_program("prompts", {**access, "library": library}))


def _sentence(seen: Mapping[str, Any]) -> str:
    words = {"create": "made", "update": "brought up to date", "remember": "put on record"}
    done = [f"{word} {len(seen[kind])}" for kind, word in words.items() if seen[kind]]
    kept = [f"left {len(seen['kept'])} to the people who changed them"] if seen["kept"] else []
    return f"prompts: {', '.join([*done, *kept])}"
