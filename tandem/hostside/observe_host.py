"""Runs on the host as root, standard library only: packages, users and kernel settings.

Input: one JSON argument {"packages": [names], "users": {name: uid}, "settings": {sysctl name: value}}.
Output: one JSON line {"packages": {name: version or null}, "users": {name: uid or null}, "settings": {name: value or
null}}.
"""

import json
import pwd
import subprocess
import sys


def versions(names: list[str]) -> dict[str, str | None]:
    """Installed versions; a package that is removed but configured counts as absent."""
    command = ["dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\t${Version}\n", *names]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    installed = {row[0]: row[2] for row in rows if row[1] == "installed"}
    return {name: installed.get(name) for name in names}


def uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def setting(name: str) -> str | None:
    try:
        with open("/proc/sys/" + name.replace(".", "/")) as file:
            return " ".join(file.read().split())
    except OSError:
        return None


def main() -> None:
    asked = json.loads(sys.argv[1])
    answer = {
        "packages": versions(asked["packages"]) if asked["packages"] else {},
        "users": {name: uid(name) for name in asked["users"]},
        "settings": {name: setting(name) for name in asked["settings"]},
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
