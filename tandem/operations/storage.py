"""The weights disk."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pyinfra import host
from pyinfra.api import OperationError, operation

from tandem import commands, journal
from tandem.domain.storage import Disk, gib, growth_bytes, judge, settled, slow
from tandem.facts.storage import StorageState
from tandem.operations.live import Commands, LiveCommand


@operation()
def filesystem(disk: Disk, seen: Mapping[str, Any]) -> Commands:
    """Makes the weights filesystem on a blank disk, or on one that the operator has named by its serial number.

    Refuses a disk with any signature, partition or data otherwise, and one that is in use in any case. A filesystem
    with the wanted UUID is taken as it is.

    + seen: what ``look`` answered; the host looks once more before it writes
    """
    verdict = judge(disk, seen)
    if verdict.refusal:
        raise OperationError(verdict.refusal)
    for sentence in verdict.remarks:
        journal.remark(host, sentence)
    if not verdict.format:
        host.noop(f"{disk.device} holds the weights filesystem")
        return
    for what in verdict.destroys:
        journal.note(host, f"destroyed on {disk.device} (serial number {disk.erase}): {what}")
    state, size = "erased" if verdict.destroys else "blank", gib(seen["bytes"])
    journal.note(
        host, f"formatted the {state} disk {disk.device} ({size}) as {disk.filesystem} with label {disk.label}"
    )
    yield LiveCommand(commands.host_program("format_disk", asdict(disk)))


@operation()
def settle(disk: Disk, seen: Mapping[str, Any], advised_read_mib_per_second: int) -> Commands:
    """Lets the mounted weights filesystem grow with its device, and measures once how fast it reads.

    + seen: what ``look`` answered before it was mounted; asked again only when there was something to do
    + advised_read_mib_per_second: a disk that reads slower gets a warning
    """
    if settled(disk, seen):
        host.noop(f"the weights filesystem fills {disk.device}, which reads {seen['read_mib_per_second']} MiB/s")
    else:
        seen = look(disk)
    if growth_bytes(disk, seen):
        before, after = gib(seen["filesystem_bytes"]), gib(seen["bytes"])
        journal.note(host, f"grew the weights filesystem on {disk.device} from {before} to {after}")
        yield commands.grow_filesystem(disk.filesystem, disk.device, disk.directory)
    if seen["read_mib_per_second"] is None:
        journal.note(host, f"measured how fast {disk.device} reads")
        yield LiveCommand(commands.host_program("measure_disk", {"directory": disk.directory, "uuid": disk.uuid}))
        seen = look(disk)
    speed: int | None = seen["read_mib_per_second"]
    # None while planning: nothing has been measured yet.
    if speed is not None and (warning := slow(disk, speed, advised_read_mib_per_second)):
        journal.remark(host, warning)


def look(disk: Disk) -> dict[str, Any]:
    """What ``tandem.hostside.observe_storage`` answers about this disk now."""
    asked = {"device": disk.device, "directory": disk.directory, "uuid": disk.uuid}
    return host.get_fact(StorageState, question=asked)
