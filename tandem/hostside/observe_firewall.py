"""Runs on the host as root, standard library only: what it lets in, compared with what is wanted.

Input: one JSON argument {"rules", "sshd"}: the wanted texts, "" for none.
Output: one JSON line {"loaded": "none"|"same"|"other", "different": [paths of files that are not as wanted], "present":
[paths of our files], "ssh_ports": [numbers], "sshd": {setting: value} as sshd reads its files now}.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from tandem.domain.firewall import FOLDER, PORTS, RULES, SSHD, TABLE, UNIT_FILES, ports_text

FILES = (f"{FOLDER}/{RULES}", f"{FOLDER}/{PORTS}", SSHD)
SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def output(*command: str) -> str:
    """What it prints; "" where it fails or is not installed."""
    if not shutil.which(command[0], path=SBIN):
        return ""
    environment = {**os.environ, "PATH": SBIN, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    return done.stdout if done.returncode == 0 else ""


def in_force() -> str:
    """Our table as the kernel has it; "" when it has none."""
    return output("nft", "-s", "list", "table", *TABLE.split())


def as_listed(rules: str, ports: str) -> str:
    """The same rules as the kernel would list them, tried in a network of their own that nobody uses."""
    script = f'nft -I "$0" -f "$0/{RULES}" && nft -s list table {TABLE}'
    with tempfile.TemporaryDirectory() as folder:
        for name, text in ((RULES, rules), (PORTS, ports)):
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
        return output("unshare", "--net", "sh", "-c", script, folder)


def sshd_settings() -> dict[str, str]:
    """What sshd would read from its files now."""
    pairs = [line.split(" ", 1) for line in output("sshd", "-T").splitlines() if " " in line]
    return {name: value for name, value in pairs if name != "listenaddress"}


def ssh_ports() -> list[int]:
    """Where SSH answers other machines: sshd's own ports, those in its files, and those of its socket."""
    listening = output("ss", "-Hltnp").splitlines()
    addresses = [line.split()[3] for line in listening if '("sshd",' in line]
    if output("systemctl", "is-active", "ssh.socket"):
        shown = output("systemctl", "show", "--value", "--property=Listen", "ssh.socket")
        addresses += re.findall(r"(\S+) \(Stream\)", shown)
    else:
        addresses += re.findall(r"^listenaddress (\S+)", output("sshd", "-T"), re.MULTILINE)
    public = [address for address in addresses if not address.startswith(("127.", "[::1]"))]
    return sorted({int(address.rsplit(":", 1)[1]) for address in public if ":" in address})


def content(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def main() -> None:
    asked = json.loads(sys.argv[1])
    ports = ssh_ports()
    wanted = dict(zip(FILES, (asked["rules"], ports_text(ports), asked["sshd"]), strict=True))
    table = in_force()
    same = bool(table) and bool(asked["rules"]) and table == as_listed(asked["rules"], ports_text(ports))
    answer = {
        "loaded": ("same" if same else "other") if table else "none",
        # A trial that was cut short in its last moment leaves its own file mounted over ours.
        "different": [path for path in FILES if content(path) != wanted[path] or os.path.ismount(path)],
        "present": [path for path in (*FILES, *UNIT_FILES) if os.path.lexists(path)],
        "ssh_ports": ports,
        "sshd": sshd_settings(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
