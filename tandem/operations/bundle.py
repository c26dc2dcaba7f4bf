"""The offline bundle: verified as a whole before anything is taken from it."""

from pyinfra import host
from pyinfra.api import operation

from tandem import journal
from tandem.commands import host_program
from tandem.facts.bundle import BundleState
from tandem.operations.live import Commands, LiveCommand


@operation()
def verify(path: str, key: str) -> Commands:
    """Hashes every file of the bundle that has not been hashed here since it last changed.

    + path: its folder on the host
    + key: the public key that signed it, in ASCII armour
    """
    seen = host.get_fact(BundleState, question={"path": path, "key": key})
    size_bytes = seen["unverified_bytes"]
    if not size_bytes:
        host.noop(f"all {len(seen['manifest']['files'])} files of {path} were verified before")
        return
    journal.note(host, f"verified {size_bytes / 2**30:.1f} GiB of the bundle {path}")
    yield LiveCommand(host_program("verify_bundle", {"path": path}))
