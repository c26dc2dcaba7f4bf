"""The host as a stranger on its network sees it: every TCP port, IPv4 and IPv6."""

import asyncio
import resource
import socket

import pytest

from tandem.rehearsal.rootfs import Host

PUBLIC = {22, 80, 443}
AT_ONCE = 4000
SILENT_SECONDS = 1.5


async def open_ports(address: str) -> set[int]:
    """Ports that accept a connection. A silent one is given up after a while, so that a firewall can't hold this."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2 * AT_ONCE), most))
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ports, found = iter(range(1, 65536)), set()

    async def worker() -> None:
        for port in ports:
            with socket.socket(family) as connection:
                connection.setblocking(False)
                try:
                    await asyncio.wait_for(loop.sock_connect(connection, (address, port)), SILENT_SECONDS)
                    found.add(port)
                except OSError:  # refused, unreachable or silent
                    continue

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return found


@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_only_https_its_redirect_and_ssh_answer(machine: Host, version: str) -> None:
    address = machine.address if version == "IPv4" else machine.address_v6
    assert asyncio.run(open_ports(address)) == PUBLIC
