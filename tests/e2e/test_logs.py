"""The access log keeps up with a busy page."""

import subprocess
import time

from tandem.rehearsal.rootfs import Host
from tests.e2e.site import Site
from tests.e2e.units import on_host

ROUNDS, AT_ONCE = 30, 400
"""So many lines fit into the journal's socket: Nginx drops what does not."""
PAUSE_SECONDS = 0.4
"""In which the journal empties its socket, also on a busy machine."""
JOURNALS_LIMIT = 10_000
"""What journald takes from one service in 30 s unless the service says otherwise."""
ENOUGH_SECONDS = 29


def test_the_journals_limit_for_runaway_services_is_not_the_edges(site: Site, machine: Host) -> None:
    """Without a password: each request is refused, and each is a line."""
    load = ["ab", "-q", "-n", str(AT_ONCE), "-c", "10", "-k", f"https://{site.address}/"]
    since = time.time()
    for _ in range(ROUNDS):
        subprocess.run(load, capture_output=True, check=True, timeout=60)
        time.sleep(PAUSE_SECONDS)
    took = time.time() - since
    assert took < ENOUGH_SECONDS, f"{took:.0f} s: too slow to meet the limit"
    end = time.monotonic() + 20
    count = f"journalctl --identifier=tandem_edge --since=@{since:.0f} --output=cat --no-pager | wc -l"
    while (lines := int(on_host(machine, count))) < ROUNDS * AT_ONCE and time.monotonic() < end:
        time.sleep(0.5)
    print(f"{lines} lines of {ROUNDS * AT_ONCE} requests in {took:.0f} s")
    assert lines > (ROUNDS * AT_ONCE + JOURNALS_LIMIT) / 2
