"""The weights disk."""

from pyinfra import host
from pyinfra.api import OperationError, operation

from tandem import commands, journal
from tandem.domain.storage import judge
from tandem.facts.storage import StorageState
from tandem.operations.live import Commands


@operation()
def filesystem(device: str, kind: str, label: str, uuid: str, directory: str) -> Commands:
    """Makes a filesystem on a blank disk; refuses a disk with any signature, partition or data.

    + device: the disk
    + kind: ext4 or xfs
    + label, uuid: what the new filesystem gets; a filesystem with this uuid is taken as it is
    + directory: where it will be mounted
    """
    seen = host.get_fact(StorageState, question={"device": device, "directory": directory})
    verdict = judge(device, label, uuid, seen)
    if verdict.refusal:
        raise OperationError(verdict.refusal)
    if not verdict.format:
        host.noop(f"{device} holds the weights filesystem")
        return
    journal.note(host, f"formatted the blank disk {device} as {kind} with label {label}")
    yield commands.make_filesystem(device, kind, label, uuid)
