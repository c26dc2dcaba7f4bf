"""Runs on the host as root, standard library only: what decides whether this host can be provisioned. Changes nothing.

Input: one JSON argument {"ports": [numbers], "uids": {name: uid}, "folders": [paths], "stores": [paths],
"paths": [paths], "images": [NAME@sha256:DIGEST], "image_stores": [paths], "models": [folders],
"sources": {kind: [addresses]}, "ask": "all" | "missing" | "none", "limit_seconds": per source,
"card_fields", "app_fields": [names for nvidia-smi]}. Kinds are packages, driver, images, weights.
Output: one JSON line; each key is described where it is made. ``ask`` "missing" asks the sources only of those kinds
of which something is missing on this host.
"""

import ctypes
import functools
import glob
import json
import os
import platform
import pwd
import re
import sys
import time
from typing import Any

from tandem.hostside.asking import at_once, text
from tandem.hostside.doctor_disks import nvme, space
from tandem.hostside.doctor_gpu import bus, container_devices, errors, kernels, loaded, nvidia_smi, secure_boot
from tandem.hostside.doctor_network import ask_all, is_name, name_servers, without_login
from tandem.hostside.doctor_packages import apt_proxies, apt_settings, apt_sources, packages
from tandem.hostside.doctor_processes import open_files, runtimes

STATE = "/var/lib/tandem/state.json"
LIMIT_SECONDS = 40.0
UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)


def operating_system() -> dict[str, str]:
    pairs = dict(line.split("=", 1) for line in text("/etc/os-release").splitlines() if "=" in line)
    values = {name: value.strip('"') for name, value in pairs.items()}
    return {"id": values.get("ID", ""), "version": values.get("VERSION_ID", ""), "name": values.get("PRETTY_NAME", "")}


def machine() -> dict[str, Any]:
    """Operating system, processors, memory and clock."""
    sizes = dict(re.findall(r"(\w+):\s+(\d+) kB", text("/proc/meminfo")))
    model = re.search(r"^model name\s*:\s*(.*)$", text("/proc/cpuinfo"), re.MULTILINE)
    return {
        "os": operating_system(),
        "machine": platform.machine(),
        "processor": model.group(1).strip() if model else "",
        "processors": len(os.sched_getaffinity(0)),
        "memory_mib": int(sizes["MemTotal"]) // 1024,
        "systemd": os.path.isdir("/run/systemd/system"),
        "container": text("/run/systemd/container"),
        "synchronised": synchronised(),
        "time": time.time(),
    }


def synchronised() -> bool:
    """The kernel's own word on whether something keeps the clock right: adjtimex(2) with nothing to set."""
    buffer = ctypes.create_string_buffer(512)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    # struct timex: modes (int), offset, freq, maxerror, esterror (long), status (int)
    status = ctypes.c_int.from_buffer(buffer, 40).value
    return bool(state >= 0 and not status & UNSYNCHRONISED)


def recorded_state() -> Any:
    try:
        with open(STATE) as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except ValueError:
        return {"damaged": "not JSON"}


def stored(image: str, stores: list[str]) -> bool:
    """Whether a Podman store has the image by name and digest, by the store's own index."""
    name, _, digest = image.partition("@")
    for index in [path for store in stores for path in glob.glob(f"{store}/*-images/images.json")]:
        try:
            known = json.loads(text(index) or "[]")
        except ValueError:
            continue
        for one in known:
            digests = {one.get("digest"), *(one.get("big-data-digests") or {}).values()}
            if digest in digests and any(
                given.startswith((f"{name}:", f"{name}@")) for given in one.get("names") or []
            ):
                return True
    return False


def there_already(asked: dict[str, Any], state: Any, driver: bool) -> dict[str, list[str]]:
    """{kind: what is missing of it}."""
    return {
        "packages": [] if state else ["Tandem's packages"],
        "driver": [] if driver else ["the driver's packages"],
        "images": [image for image in asked["images"] if not stored(image, asked["image_stores"])],
        "weights": [os.path.basename(folder) for folder in asked["models"] if not os.path.isdir(folder)],
    }


def network(asked: dict[str, Any], missing: dict[str, list[str]]) -> dict[str, Any]:
    """{"servers", "asked": {kind: [addresses]}, "answers": {address: ...}, "names": [addresses with a name]}."""
    if asked["ask"] == "none":
        return {"servers": name_servers(), "asked": {}, "answers": {}, "names": []}
    sources = {kind: list(found) for kind, found in asked["sources"].items() if missing[kind] or asked["ask"] == "all"}
    if "packages" in sources:
        sources["packages"] += [address for address in apt_sources() if address not in sources.get("driver", [])]
    proxies = apt_proxies()
    own = {kind: os.environ.get(f"{kind}_proxy", os.environ.get(f"{kind.upper()}_PROXY", "")) for kind in proxies}
    by_apt = sorted({address for kind in ("packages", "driver") for address in sources.get(kind, [])})
    others = sorted({address for found in sources.values() for address in found} - set(by_apt))
    limit = float(asked["limit_seconds"])
    jobs = {
        "apt": functools.partial(ask_all, by_apt, {k: proxies[k] or own[k] for k in proxies}, limit),
        "others": functools.partial(ask_all, others, own, limit),
    }
    found = at_once(jobs, limit + 2)
    answers = {without_login(one): answer for part in found.values() for one, answer in (part or {}).items()}
    told = {kind: [without_login(address) for address in addresses] for kind, addresses in sources.items()}
    names = [address for address in answers if is_name(address) and not answers[address].get("proxy")]
    return {"servers": name_servers(), "asked": told, "answers": answers, "names": names}


def main() -> None:
    asked = json.loads(sys.argv[1])
    state = recorded_state()
    driver = loaded()
    missing = there_already(asked, state, bool(driver["module"] or glob.glob("/var/lib/dpkg/info/*nvidia*dkms*.list")))
    jobs = {
        "files": lambda: open_files(asked["ports"]),
        "runtimes": runtimes,
        "bus": bus,
        "smi": lambda: nvidia_smi(asked["card_fields"], asked["app_fields"]),
        "kernels": kernels,
        "secure_boot": secure_boot,
        "xid": errors,
        "packages": packages,
        "apt": apt_settings,
        "nvme": nvme,
        "network": lambda: network(asked, missing),
    }
    found = at_once(jobs, LIMIT_SECONDS + float(asked["limit_seconds"]))
    late = sorted(name for name, answer in found.items() if answer is None)
    if late:
        raise SystemExit(
            f"no answer within {LIMIT_SECONDS + float(asked['limit_seconds']):.0f} s from: {', '.join(late)}"
        )
    answer = {
        **machine(),
        **found.pop("files"),
        **found,
        **driver,
        "container_devices": container_devices(),
        "space": {folder: space(folder) for folder in asked["folders"]},
        "uid_owners": {str(u.pw_uid): u.pw_name for u in pwd.getpwall() if u.pw_uid in asked["uids"].values()},
        "state": state,
        "absent": missing,
        "missing_stores": [path for path in asked["stores"] if not os.path.isdir(path)],
        "missing_paths": [path for path in asked["paths"] if not os.path.exists(path)],
    }
    print(json.dumps(answer))
    sys.stdout.flush()
    # Threads that still wait for a name server would keep the program alive.
    os._exit(0)


if __name__ == "__main__":
    main()
