"""Runs on the host as root, standard library only: tries firewall rules and sshd settings, then makes them permanent.

Input: one JSON argument, {"phase": "try", "rules", "sshd", "confirm_seconds"} or {"phase": "confirm"}. Texts are ""
where there shall be none.

``try`` changes nothing that outlives a reboot: rules are in the kernel only, the sshd settings are mounted over the old
ones. A timer takes both back. ``confirm``, asked over a new connection, ends the timer and writes the files. Whichever
of the two comes first takes the file PENDING away, and the other one then does nothing.
"""

import json
import os
import shutil
import subprocess
import sys

from tandem.domain.firewall import FOLDER, PORTS, RULES, SSHD, TABLE, UNIT, UNIT_FILES, lax, ports_text
from tandem.hostside.apply_tree import make_folders, write_file
from tandem.hostside.observe_firewall import SBIN, content, in_force, output, ssh_ports, sshd_settings

TRIAL = "/run/tandem/firewall"
PENDING = f"{TRIAL}/pending"
UNDO = f"{TRIAL}/undo"
TIMER = "tandem-firewall-undo"
NEW_SSHD, OLD_RULES, MADE_SSHD = f"{TRIAL}/sshd.conf", f"{TRIAL}/old.nft", f"{TRIAL}/made-sshd"
EMPTIED = f"table {TABLE}\ndelete table {TABLE}\n"
RELOAD_SSHD = """\
if systemctl --quiet is-active ssh.socket; then
    # A reload would end it: reading anew it tries to bind the port that the socket holds. Sessions outlive the restart.
    systemctl try-restart ssh.service
else
    systemctl try-reload-or-restart ssh.service 2>/dev/null || systemctl try-reload-or-restart sshd.service
fi
"""

UNDOING = f"""\
# Made by Tandem: takes a trial of firewall rules back unless it was confirmed.
export PATH={SBIN}
mv {PENDING} {TRIAL}/undone 2>/dev/null || exit 0
nft -f {OLD_RULES}
if mountpoint -q {SSHD}; then umount {SSHD}; fi
if [ -e {MADE_SSHD} ]; then rm -f {SSHD}; fi
{RELOAD_SSHD}\
echo 'no new connection confirmed the firewall rules: those before are in force again'
"""


class Failed(Exception):
    """Why a trial can't go on; what was tried is taken back."""


def step(*command: str) -> None:
    environment = {**os.environ, "PATH": SBIN, "LC_ALL": "C"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    if done.returncode:
        raise Failed(f"{' '.join(command)[:200]} failed: {(done.stderr or done.stdout).strip()[-1500:]}")


def keep(name: str, text: str) -> None:
    write_file(f"{TRIAL}/{name}", text, "0600", 0, 0)


def unmount() -> None:
    while os.path.ismount(SSHD):
        step("umount", SSHD)


def undo() -> None:
    subprocess.run(["sh", UNDO], capture_output=True, check=False, timeout=60)
    output("systemctl", "stop", f"{TIMER}.timer")


def prepare(rules: str, sshd: str) -> None:
    """Writes down what was there before and what is to be tried, and has nft and sshd check the latter."""
    shutil.rmtree(TRIAL, ignore_errors=True)
    os.makedirs(TRIAL, mode=0o700)
    keep("old.nft", EMPTIED + in_force())
    keep("undo", UNDOING)
    keep("sshd.conf", sshd)
    keep(RULES, rules or EMPTIED)
    keep(PORTS, ports_text(ssh_ports()) if rules else "")
    step("nft", "--check", "-I", TRIAL, "-f", f"{TRIAL}/{RULES}")
    if sshd and not os.path.exists(SSHD):
        make_folders(os.path.dirname(SSHD))
        keep("made-sshd", "")
        write_file(SSHD, "# Made by Tandem: settings are being tried.\n", "0644", 0, 0)


def begin(confirm_seconds: int, sshd: str) -> None:
    """From here on the timer takes everything back."""
    keep("pending", "")
    unit = ["--quiet", "--collect", f"--unit={TIMER}", f"--on-active={confirm_seconds}s"]
    step("systemd-run", *unit, "--timer-property=AccuracySec=100ms", "/bin/sh", UNDO)
    if os.path.exists(SSHD):
        step("mount", "--bind", NEW_SSHD, SSHD)
        step("sshd", "-t")
        still = lax(sshd_settings()) if sshd else []
        if still:
            raise Failed(
                f"sshd would still have {', '.join(still)}: a file in /etc/ssh that is read before {SSHD} says so"
            )
        step("sh", "-c", RELOAD_SSHD)
    step("nft", "-I", TRIAL, "-f", f"{TRIAL}/{RULES}")


def attempt(rules: str, sshd: str, confirm_seconds: int) -> None:
    if os.path.exists(PENDING):
        undo()
    unmount()
    try:
        prepare(rules, sshd)
        begin(confirm_seconds, sshd)
    except Failed as failure:
        if os.path.exists(PENDING):
            undo()
        elif os.path.exists(MADE_SSHD):
            os.unlink(SSHD)
        sys.exit(f"{failure}\nthe rules and settings from before are in force")
    print(
        f"trying the new rules; they are taken back in {confirm_seconds} s unless a new SSH connection works",
        flush=True,
    )


def confirm() -> None:
    try:
        os.rename(PENDING, f"{TRIAL}/confirmed")
    except FileNotFoundError:
        sys.exit(
            "no new SSH connection came in time, so the firewall rules and sshd settings from before are in force "
            "again: is the address of the machine that runs this in firewall/ssh_from, and does its login use a key? "
            "Mend that, then run this again"
        )
    output("systemctl", "stop", f"{TIMER}.timer")
    rules, ports, sshd = (content(f"{TRIAL}/{name}") or "" for name in (RULES, PORTS, "sshd.conf"))
    unmount()
    if rules != EMPTIED:
        for path, text in ((f"{FOLDER}/{PORTS}", ports), (f"{FOLDER}/{RULES}", rules), (SSHD, sshd)):
            write_file(path, text, "0644", 0, 0)
    else:
        output("systemctl", "disable", "--now", UNIT)
        for path in (f"{FOLDER}/{PORTS}", f"{FOLDER}/{RULES}", SSHD, *UNIT_FILES):
            if os.path.lexists(path):
                os.unlink(path)
        output("systemctl", "daemon-reload")
    shutil.rmtree(TRIAL)
    print("a new SSH connection works: made permanent", flush=True)


def main() -> None:
    job = json.loads(sys.argv[1])
    if job["phase"] == "try":
        attempt(job["rules"], job["sshd"], job["confirm_seconds"])
    else:
        confirm()


if __name__ == "__main__":
    main()
