"""The traffic split as Nginx text. Pure; written and reloaded by ``tandemctl``. Standard library only.

A conversation hashes to one slot, and then to one engine of that slot. Both draws are ``split_clients`` with different
salts, and each engine is an upstream of its own with the others as ``backup``: Nginx refuses ``backup`` together
with ``hash``, and without a backup a crashed engine would fail its share of the conversations.

Slots are drawn in a fixed order (alphabetical), so that a weight that grows only adds conversations to a slot,
whichever slot is the new one. The last range is always ``*``: explicit ranges that add up to 100 can leave a gap.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

HEADER = "# Written by tandemctl; the next change of the split overwrites it.\n"
CONVERSATION = """\
map $http_x_openwebui_chat_id $conversation {
    default $http_x_openwebui_chat_id;
    "" $request_id;
}
"""
PAUSE = 'map "" $engine_upstream { default 127.0.0.1:1; }\n'
"""Port 1 refuses; the router then says that no engine answered."""


def engine_split(ports: Mapping[str, Sequence[int]], weights: Mapping[str, int], *, salt: str = "") -> str:
    """The engine router's include: defines ``$engine_upstream`` and ``$split_revision``.

    ``ports``: loopback ports of the running engines by slot (a slot that must not even be a backup is left out).
    ``weights``: percent by slot, adding up to 100; no engine and no share at all is a pause (503 with Retry-After).
    ``salt`` (letters, digits, ``._-``) varies who moves first between rollouts; change it only while one slot has all.
    Raises ValueError, with nothing written, for what cannot serve.
    """
    running = {slot: tuple(numbers) for slot, numbers in sorted(ports.items()) if numbers}
    if not running and not any(weights.values()):
        return _finish(f'{CONVERSATION}map "" $engine_slot {{ default ""; }}\n{PAUSE}')
    _check(running, weights, salt)
    shares = [(slot, weights.get(slot, 0)) for slot in running]
    parts = [CONVERSATION]
    for slot in running:
        parts.extend(_upstream(slot, port, running) for port in running[slot])
        # Unsalted: a rollout alone sends no conversation to an engine that has not computed it yet.
        parts.append(_choice(f"engine_{slot}", "/engine/$conversation", _even(slot, running[slot])))
    taken = [(slot, float(share)) for slot, share in shares if share]
    parts.append(_choice("engine_slot", f"{salt}/slot/$conversation", taken))
    cases = "".join(f"    {slot} $engine_{slot};\n" for slot in running)
    parts.append(f"map $engine_slot $engine_upstream {{\n{cases}}}\n")
    return _finish("".join(parts))


def webui_split(port: int) -> str:
    """The WebUI router's include: defines ``$webui_upstream`` and ``$split_revision``."""
    _check_port(port)
    return _finish(f'map "" $webui_upstream {{ default 127.0.0.1:{port}; }}\n')


def split_revision(text: str) -> str:
    """What the router answers on /split once it serves this text. Raises ValueError for text that is not a split."""
    found = re.search(r'^map "" \$split_revision \{ default ([0-9a-f]{16}); \}$', text, re.MULTILINE)
    if not found:
        raise ValueError("this text has no $split_revision: it was not written by tandemctl")
    return found.group(1)


def _finish(body: str) -> str:
    revision = hashlib.sha256(body.encode()).hexdigest()[:16]
    return f'{HEADER}{body}map "" $split_revision {{ default {revision}; }}\n'


def _upstream(slot: str, port: int, running: Mapping[str, Sequence[int]]) -> str:
    """One engine, then as backups its neighbours in the slot (preferred by weight) and the engines of other slots."""
    lines = [f"    server 127.0.0.1:{port} max_fails=1 fail_timeout=2s;"]
    for other in sorted(running, key=lambda name: (name != slot, name)):
        weight = 100 if other == slot else 1
        lines += [
            f"    server 127.0.0.1:{backup} weight={weight} max_fails=1 fail_timeout=2s backup;"
            for backup in running[other]
            if backup != port
        ]
    text = "\n".join(lines)
    return f"upstream engine_{slot}_{port} {{\n{text}\n}}\n"


def _even(slot: str, ports: Sequence[int]) -> list[tuple[str, float]]:
    return [(f"engine_{slot}_{port}", 100 / len(ports)) for port in ports]


def _choice(variable: str, key: str, shares: Sequence[tuple[str, float]]) -> str:
    """``$variable`` drawn by the hash of ``key``; a constant where there is nothing to draw."""
    if len(shares) == 1:
        return f'map "" ${variable} {{ default {shares[0][0]}; }}\n'
    ranges = "".join(f"    {share:.2f}% {value};\n" for value, share in shares[:-1])
    return f'split_clients "{key}" ${variable} {{\n{ranges}    * {shares[-1][0]};\n}}\n'


def _check(running: Mapping[str, Sequence[int]], weights: Mapping[str, int], salt: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]*", salt):
        raise ValueError(f"salt {salt!r} must be letters, digits or ._-; the split was left as it is")
    if any(share < 0 for share in weights.values()) or sum(weights.values()) != 100:
        raise ValueError(f"weights {dict(weights)} must be percentages that add up to 100; the split was left as it is")
    for slot, share in weights.items():
        if share and slot not in running:
            raise ValueError(f"slot {slot} should get {share} % but runs no engine; the split was left as it is")
    numbers = [port for ports in running.values() for port in ports]
    for port in numbers:
        _check_port(port)
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"engine ports {numbers} are not all different; the split was left as it is")


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise ValueError(f"port {port} is not between 1 and 65535; the split was left as it is")
