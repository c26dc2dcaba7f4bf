"""Do sources and mirrors answer? Each is looked up, connected and asked for one byte, all at the same time."""

import contextlib
import ipaddress
import os
import re
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from tandem.hostside.asking import at_once, text

PORTS = {"http": 80, "https": 443}
LOCAL = ("file:", "copy:", "cdrom:", "mirror+file:")


def name_servers() -> list[str]:
    return re.findall(r"^\s*nameserver\s+(\S+)", text("/etc/resolv.conf"), re.MULTILINE)


def ask_all(addresses: list[str], proxies: dict[str, str], limit_seconds: float) -> dict[str, dict[str, Any]]:
    """{address: {"state", "why", "seconds", "proxy"}}; ``state`` is answers, no name, no answer or missing."""
    jobs = {address: lambda address=address: ask(address, proxies, limit_seconds) for address in addresses}
    found = at_once(jobs, limit_seconds + 1)
    late = {"state": "no answer", "why": f"silent for {limit_seconds:.0f} s", "seconds": limit_seconds, "proxy": ""}
    return {address: answer or late for address, answer in found.items()}


def ask(address: str, proxies: dict[str, str], limit_seconds: float) -> dict[str, Any]:
    if address.startswith(LOCAL):
        path = "/" + address.partition(":")[2].lstrip("/")
        there = os.path.exists(path)
        return {
            "state": "answers" if there else "missing",
            "why": "" if there else f"there is no {path}",
            "seconds": 0.0,
        }
    began, proxy = time.monotonic(), proxies.get(address.partition(":")[0], "")
    answer: dict[str, Any] = {"state": "answers", "why": "", "proxy": without_login(proxy)}
    try:
        _connect(proxy or address, limit_seconds, speak=not proxy)
    except socket.gaierror as error:
        answer |= {"state": "no name", "why": str(error.strerror)}
    except (OSError, ValueError) as error:
        why = "silent" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
        answer |= {"state": "no answer", "why": str(why)}
    return {**answer, "seconds": round(time.monotonic() - began, 3)}


def _connect(address: str, limit_seconds: float, speak: bool) -> None:
    """Connects and, if it may ``speak``, waits for the first byte of an answer. Raises OSError.

    Certificates are left to who uses the source: a fresh host has no authorities yet.
    """
    parts = urlsplit(address)
    name, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 80)
    deadline = time.monotonic() + limit_seconds
    with contextlib.ExitStack() as stack:
        connection: socket.socket = stack.enter_context(socket.create_connection((name, port), timeout=limit_seconds))
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        if parts.scheme == "https" and speak:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname=name))
        if speak:
            place = parts.netloc.rpartition("@")[2]
            connection.sendall(f"HEAD / HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n".encode())
            if not connection.recv(1):
                raise OSError("it closes the connection without an answer")


def without_login(address: str) -> str:
    """An address that may be shown: a mirror's or proxy's user and password may stand in it."""
    return re.sub(r"//[^/]*@", "//", address)


def is_name(address: str) -> bool:
    """Whether the host of an address is a name, which must be looked up."""
    host = urlsplit(address).hostname or ""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return False
    return bool(host) and host != "localhost"
