"""Runs on a host as root: what an install makes of it, without secrets and without what differs from run to run.

Input: QUESTION, JSON {text: what stands in its place}: names and addresses of this host.
Output: one JSON line {"files", "leftovers", "packages", "units", "unit_files", "users", "groups", "containers",
"listeners", "manifest"}, each a mapping from a name to a value, so that two hosts can be compared name by name.
"""

import grp
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess

FOLDERS = ("/etc", "/usr/local", "/var/lib/tandem", "/srv/weights")
# Content that is a host's own or that other programs write: presence, mode and owner are compared.
OWN_CONTENT = re.compile(
    r"/etc/(machine-id|hostname|hosts|resolv\.conf|ld\.so\.cache|mtab|[g]?shadow-?|passwd-?|group-?|subuid-?|subgid-?"
    r"|\.pwd\.lock|ssl/.*|systemd/network/.*|systemd/system/rehearsal-.*|cdi/.*|rehearsal/.*)"
    r"|/usr/local/lib/rehearsal/.*"
    r"|/var/lib/tandem/(history\.jsonl|storage\.json|prompts\.json)"
)
# Below these only the folder itself counts: databases and byte code.
CLOSED = re.compile(r"/var/lib/tandem/webui/[a-z]+|.*/__pycache__|/srv/weights/lost\+found")
# How far the fetches beside a wrong file came until they were stopped.
PARTIAL = re.compile(r"/srv/weights/\.incoming-[0-9a-f]+/.+\.part")
LEFTOVER = re.compile(
    r"\..*\.tandem|\.incoming-.*|\.tandem-read-speed|.*\.new|\.verified\.json|quarantine|\.tandem-secrets-.*|.*\.dpkg-\w+"
)
# What the first or the second boot of a host makes, and what the guard makes in its time.
BOOTED = re.compile(r"/etc/\.updated|/etc/ssh/ssh_host_.*|/var/lib/tandem/(starts\.json|reserve)")
DIGEST = re.compile(r"\b[0-9a-f]{16}\b")
UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# Units that come and go by themselves, or only at a first boot.
TRANSIENT = re.compile(
    r"(run|session|proc|sys|dev|opt-rehearsal|systemd|sshd|netavark)-.*|(user|sshd)[@-].*|user-runtime-dir@.*"
    r"|(-|tmp|var-lib-containers.*)\.mount|.*\.(scope|slice|device|target|swap|automount)|(dbus|ssh|console-getty).*"
)


def output(*command: str) -> str:
    """What a command prints; "" where it is not installed or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def alike(text: str, same: dict[str, str]) -> str:
    """``text`` with names, addresses and digests over them replaced."""
    for word in sorted(same, key=len, reverse=True):
        text = text.replace(word, same[word])
    return UUID.sub("UUID", DIGEST.sub("DIGEST", text))


def content(path: str, same: dict[str, str]) -> str:
    if path.startswith("/etc/tandem/secrets/") or OWN_CONTENT.fullmatch(path):
        return "not compared"
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith("/verified.json"):
        # Size and hash of each file; its times are the host's own.
        data = json.dumps({name: [row[0], row[3]] for name, row in json.loads(data).items()}).encode()
    if path == "/var/lib/tandem/state.json":
        data = re.sub(rb'"start_seconds": [0-9.]+', b'"start_seconds": null', data)
    if len(data) < 2**20 and b"\0" not in data:
        data = alike(data.decode(errors="replace"), same).encode()
    return hashlib.sha256(data).hexdigest()


def see(path: str, same: dict[str, str]) -> str:
    found = os.lstat(path)
    owner = f"{stat.S_IMODE(found.st_mode):04o} {found.st_uid}:{found.st_gid}"
    if stat.S_ISLNK(found.st_mode):
        return "link " + alike(os.readlink(path), same)
    if stat.S_ISREG(found.st_mode):
        return f"file {owner} {content(path, same)}"
    return f"{'folder' if stat.S_ISDIR(found.st_mode) else 'other'} {owner}"


def files(same: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    found, leftovers = {}, {}
    for top in FOLDERS:
        for folder, folders, names in os.walk(top):
            if CLOSED.fullmatch(folder):
                folders[:] = []
                names = []
            paths = [folder, *(os.path.join(folder, name) for name in [*names, *folders])]
            for path in paths:
                if BOOTED.fullmatch(path) or PARTIAL.fullmatch(path):
                    continue
                place = DIGEST.sub("DIGEST", path)
                found[place] = see(path, same)
                if LEFTOVER.fullmatch(os.path.basename(path)):
                    leftovers[place] = "left behind"
    for folder in ("/run", "/tmp", "/var/tmp"):
        for name in os.listdir(folder):
            if LEFTOVER.fullmatch(name) or name.startswith(("storage", "skopeo", "oci", "container_images")):
                leftovers[f"{folder}/{name}"] = "left behind"
    return found, leftovers


def packages() -> dict[str, str]:
    rows = output("dpkg-query", "-W", "-f", "${Package}\t${Version} ${db:Status-Abbrev}\n").splitlines()
    found = dict(row.split("\t") for row in rows)
    by_hand = set(output("apt-mark", "showmanual").split())
    audit = output("dpkg", "--audit")
    return {name: f"{state} {'by hand' if name in by_hand else 'for others'}" for name, state in found.items()} | {
        "dpkg --audit": audit
    }


def units() -> dict[str, str]:
    """What runs, waits or is mounted for long, and everything that has failed. What a timer starts comes and goes."""
    rows = output("systemctl", "list-units", "--all", "--plain", "--no-legend", "--full").splitlines()
    split = [row.split(None, 4)[:4] for row in rows]
    timed = {f"{name.removesuffix('.timer')}.service" for name, *_ in split if name.endswith(".timer")}
    return {
        name: active if name.endswith(".timer") else f"{active} {sub}"
        for name, _, active, sub in split
        if active == "failed"
        or (active != "inactive" and sub != "exited" and not TRANSIENT.fullmatch(name) and name not in timed)
    }


def unit_files() -> dict[str, str]:
    rows = output("systemctl", "list-unit-files", "--plain", "--no-legend", "--full").splitlines()
    return {row.split()[0]: row.split()[1] for row in rows if not TRANSIENT.fullmatch(row.split()[0])}


def containers(same: dict[str, str]) -> dict[str, str]:
    names = output("podman", "ps", "--all", "--format", "{{.Names}}").split()
    found = json.loads(output("podman", "inspect", "--type=container", *names) or "[]") if names else []
    shown = {}
    for one in found:
        config, isolation = one["Config"], one["HostConfig"]
        what = [one["State"]["Status"], one["ImageDigest"], one["ImageName"], config["User"], config.get("Cmd")]
        what += [isolation["ReadonlyRootfs"], isolation["CapDrop"], isolation["SecurityOpt"], isolation["NetworkMode"]]
        what += [sorted(f"{mount['Source']}:{mount['Destination']}:{mount['RW']}" for mount in one["Mounts"])]
        shown[one["Name"]] = alike(json.dumps(what), same)
    return shown


def images() -> dict[str, str]:
    """Which digests a store has, under which name."""
    rows = output(
        "podman", "images", "--digests", "--no-trunc", "--format", "{{.Repository}}@{{.Digest}}\t{{.ReadOnly}}"
    )
    return dict(row.split("\t") for row in rows.splitlines())


def listeners(same: dict[str, str]) -> dict[str, str]:
    """TCP ports with the address and process; ports that the kernel chose (an engine's inner ones) are left out."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    found = {}
    for row in output("ss", "--tcp", "--listening", "--numeric", "--processes", "--no-header").splitlines():
        words = row.split()
        port = int(words[3].rsplit(":", 1)[1])
        if port < first:
            who = re.search(r'"([^"]+)"', row)
            found[alike(words[3], same)] = who.group(1) if who else "?"
    return found


def main(same: dict[str, str]) -> None:
    seen, leftovers = files(same)
    try:
        with open("/var/lib/tandem/manifest.json") as file:
            manifest = dict.fromkeys(json.load(file)["paths"], "owned")
    except FileNotFoundError:
        manifest = {}
    answer = {
        "files": seen,
        "leftovers": leftovers,
        "packages": packages(),
        "units": units(),
        "unit files": unit_files(),
        "users": {
            user.pw_name: f"{user.pw_uid}:{user.pw_gid} {user.pw_dir} {user.pw_shell}" for user in pwd.getpwall()
        },
        "groups": {group.gr_name: f"{group.gr_gid} {group.gr_mem}" for group in grp.getgrall()},
        "containers": containers(same),
        "images": images(),
        "listeners": listeners(same),
        "manifest": manifest,
    }
    print(json.dumps(answer))


main(json.loads(QUESTION))  # type: ignore[name-defined]  # noqa: F821 - put before this text by tests.faults.onhost
