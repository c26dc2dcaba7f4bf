"""The units of the rehearsal host, asked over SSH."""

import subprocess

from tandem.rehearsal.rootfs import Host

SHOWN = (
    "Id,ActiveState,InvocationID,ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic,NRestarts,TriggeredBy"
)
OURS = ("tandem-*", "vllm-*", "open-webui-*", "srv-weights.mount")


def on_host(machine: Host, *command: str) -> str:
    return subprocess.run(
        [*machine.ssh("root"), *command], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def units(machine: Host, *patterns: str) -> dict[str, dict[str, str]]:
    """Each loaded unit that matches, by name, with its state and when it began; not those that a timer starts, which
    come and go.
    """
    quoted = " ".join(f"'{pattern}'" for pattern in patterns)
    text = on_host(machine, f"systemctl show --property={SHOWN} {quoted}")
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    return {block["Id"]: block for block in blocks if not block.get("TriggeredBy")}
