"""A real ACME authority on loopback: Debian's pebble, with a DNS server of its own that answers 127.0.0.1 for all."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tandem.hostside import x509
from tests.unit.nginx_process import free_ports

READY_SECONDS = 10


@dataclass(frozen=True)
class Pebble:
    """``trusted_by``: what its HTTPS is trusted by (PEM). It asks names for challenges on ``http_port``."""

    directory: str
    trusted_by: str
    http_port: int


@contextmanager
def pebble(folder: Path, validity_days: int = 90, http_port: int | None = None) -> Iterator[Pebble]:
    """Runs until the block ends; answers no request before that."""
    folder.mkdir()
    listen, management, dns, dns_management, http = free_ports(5)
    trusted_by = _certificates(folder)
    settings = {
        "listenAddress": f"127.0.0.1:{listen}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "leaf.crt"),
        "privateKey": str(folder / "leaf.key"),
        "httpPort": http_port or http,
        "tlsPort": 1,
        "certificateValidityPeriod": validity_days * 86400,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    off = [word for name in ("http01", "https01", "tlsalpn01", "defaultIPv6") for word in (f"-{name}", "")]
    commands = [
        ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}", *off],
        ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"],
    ]
    # dehydrated before 0.7.2 does not ask again when a nonce is refused, which pebble does by chance.
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    running = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"log-{number}").open("w") as log:
                running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
        _wait_for(listen, folder / "log-1")
        yield Pebble(f"https://127.0.0.1:{listen}/dir", trusted_by, http_port or http)
    finally:
        for process in running:
            process.terminate()
            process.wait(timeout=10)


def _certificates(folder: Path) -> str:
    authority, key = x509.new_key(), x509.new_key()
    certificate = x509.make_ca(authority, "pebble")
    (folder / "ca.crt").write_text(certificate)
    (folder / "ca.key").write_text(authority)
    (folder / "leaf.key").write_text(key)
    (folder / "leaf.crt").write_text(x509.make_leaf(key, ["127.0.0.1"], folder / "ca.crt", folder / "ca.key"))
    return certificate


def _wait_for(port: int, log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise TimeoutError(f"pebble does not listen after {READY_SECONDS} s: {log.read_text()}") from None
            time.sleep(0.05)
