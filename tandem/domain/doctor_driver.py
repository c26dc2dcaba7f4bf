"""Checks of driver and kernel: versions that must fit, modules, headers, Secure Boot. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tandem.domain.cards import Card, read_cards
from tandem.domain.checks import CardNeeds, Check, fail, ok, shown, warn
from tandem.domain.debian import upstream
from tandem.domain.kernels import next_kernel, version_key

FIRST_DRIVER: Final = {"13": "580.65.06", "12": "525.60.13", "11": "450.80.02"}
"""The first driver of each CUDA release line; NVIDIA's minor-version compatibility covers the rest of the line."""

NO_FORWARD: Final = "GeForce cards have no forward compatibility"
MISMATCH: Final = "Driver/library version mismatch"
NOT_STARTED: Final = 127
"""nvidia-smi is not installed."""


def library_version(found: Mapping[str, Any]) -> str:
    """Of the installed libcuda, "" without its package."""
    packages: Mapping[str, str] = found["packages"]["driver"]
    owners = [name for name in packages if name.startswith(("libcuda1", "libnvidia-compute"))]
    return upstream(packages[min(owners)]) if owners else ""


def driver_version(found: Mapping[str, Any]) -> str:
    """Of the driver that runs: by its module, else as nvidia-smi tells; "" when none runs."""
    cards = read_cards(found["smi"]["cards"])
    return str(found["module"]) or (cards[0].driver if cards else "")


def driver(needs: CardNeeds, found: Mapping[str, Any], cards: Sequence[Card]) -> Iterator[Check]:
    yield _version(needs, found)
    yield _match(needs, found)
    yield from _answers(needs, found, cards)
    if found["nouveau"]:
        if needs.installs:
            advice = "install turns it off and needs one reboot for that (gpu/allow_reboot)"
            yield warn("nouveau", "nouveau holds the cards", advice, "nouveau off")
        else:
            advice = "blacklist nouveau, run update-initramfs -u and reboot"
            yield fail("nouveau", "nouveau holds the cards", advice, "NVIDIA's driver")
    else:
        yield ok("nouveau", "not loaded")
    yield _secure_boot(needs, found)


def _version(needs: CardNeeds, found: Mapping[str, Any]) -> Check:
    first = FIRST_DRIVER.get(needs.cuda.split(".")[0], "")
    needed = f"driver {first} or newer (CUDA {needs.cuda})" if first else f"a driver for CUDA {needs.cuda}"
    have = driver_version(found)
    if needs.installs and first and int(needs.driver_branch) < int(first.split(".")[0]):
        advice = f"set gpu/driver_branch to {first.split('.')[0]} or later: {NO_FORWARD}"
        return fail("driver", f"gpu/driver_branch is {needs.driver_branch}", advice, needed)
    if not have:
        if needs.installs:
            waiting = f"{library_version(found)} is installed and not loaded: it needs one boot (gpu/allow_reboot)"
            coming = f"none runs yet: install brings branch {needs.driver_branch}"
            return ok("driver", waiting if library_version(found) else coming, needed)
        if found["smi"]["status"] not in (0, NOT_STARTED):
            return ok("driver", "its version is not known while nvidia-smi fails", needed)
        advice = "install one, or let Tandem do it: gpu/driver_source"
        return fail("driver", "no driver runs", advice, needed)
    if first and version_key(have) < version_key(first):
        if needs.installs:
            advice = f"install brings branch {needs.driver_branch}; {NO_FORWARD}"
            return warn("driver", f"the driver is {have}", advice, needed)
        advice = f"update the driver, or choose a release whose image has an older CUDA: {NO_FORWARD}"
        return fail("driver", f"the driver is {have}", advice, needed)
    return ok("driver", have, needed)


def _match(needs: CardNeeds, found: Mapping[str, Any]) -> Check:
    module, library = str(found["module"]), library_version(found)
    said = MISMATCH in found["smi"]["cards"]
    if said or (module and library and module != library):
        text = f"the loaded module is {module or 'of another version'}, the installed library {library or _nvml(found)}"
        advice = "reboot: until then no container can start on a card, running ones go on"
        make = warn if needs.installs else fail
        return make("driver and library", text, advice, "the same version")
    if module or library:
        return ok("driver and library", f"module {module or 'not loaded'}, library {library or 'of no package'}")
    return ok("driver and library", "none of a package")


def _nvml(found: Mapping[str, Any]) -> str:
    version = re.search(r"NVML library version: (\S+)", found["smi"]["cards"])
    return version.group(1) if version else "of another one"


def _answers(needs: CardNeeds, found: Mapping[str, Any], cards: Sequence[Card]) -> Iterator[Check]:
    """Whether the driver talks to the cards; what it says of a lost one is that card's own row."""
    smi = found["smi"]
    said = (smi["cards"].strip().splitlines() or [f"it ended with status {smi['status']}"])[0][:200]
    if smi["status"] == 0 or MISMATCH in smi["cards"]:
        return
    if "lost" in smi["cards"] or "Unable to determine the device handle" in smi["cards"]:
        advice = "reboot; if it happens again look at power, riser and seating, and at the card"
        yield fail("nvidia-smi", f"a card fell off the bus: {said}", advice)
    elif smi["status"] == NOT_STARTED:
        if needs.installs:
            yield ok("nvidia-smi", "not there yet: install brings it")
        else:
            yield fail("nvidia-smi", "there is no nvidia-smi on this host", "install the driver's tools")
    elif needs.installs and not found["module"]:
        yield ok("nvidia-smi", f"no driver is loaded: {said}")
    else:
        advice = "journalctl -k --grep NVRM says more; often a reboot helps"
        yield fail("nvidia-smi", f"the driver does not answer: {said}", advice)


def _secure_boot(needs: CardNeeds, found: Mapping[str, Any]) -> Check:
    state = found["secure_boot"]
    if not state["on"]:
        return ok("Secure Boot", "off" if state["on"] is False else "this host does not boot by UEFI")
    if found["module"]:
        return ok("Secure Boot", "on, and it lets the driver's module in")
    if state["enrolled"]:
        return ok("Secure Boot", "on; the key that signs the module is enrolled (MOK)")
    advice = (
        "turn it off in the firmware, or make a key with `dkms generate_mok`, run "
        "`mokutil --import /var/lib/dkms/mok.pub`, reboot and confirm at the console"
    )
    needed = "an enrolled key (MOK)"
    make = fail if needs.installs else warn
    return make("Secure Boot", "Secure Boot is on and would refuse a module that is built here", advice, needed)


def kernels(needs: CardNeeds, found: Mapping[str, Any]) -> Iterator[Check]:
    seen = found["kernels"]
    running = seen["running"]
    coming = next_kernel(seen["boot"], seen["grub_default"], seen["saved_entry"])
    if not coming:
        yield ok("kernel", f"{running}; none in /boot: it comes from outside")
        if not needs.installs:
            return
        coming = running
    else:
        yield ok("kernel", running if coming == running else f"{running}; the next boot takes {coming}")
    for name, kernel in {"running": running, "next boot": coming}.items():
        yield _headers(needs, seen, f"headers, {name}", kernel)
    yield _module(needs, found, coming)


def _headers(needs: CardNeeds, seen: Mapping[str, Any], name: str, kernel: str) -> Check:
    package = f"linux-headers-{kernel}"
    if kernel in seen["headers"]:
        return ok(name, package)
    if needs.installs:
        return ok(name, f"no {package} yet: install brings it")
    if kernel in seen["modules"]:
        return ok(name, f"no {package}; the driver's module for {kernel} is there")
    advice = f"apt-get install {package}: without headers no module can be built for this kernel"
    return warn(name, f"no {package}", advice, package)


def _module(needs: CardNeeds, found: Mapping[str, Any], coming: str) -> Check:
    """The module that the next boot would load."""
    name, built, library = "module, next boot", found["kernels"]["modules"].get(coming, ""), library_version(found)
    if built and library and built != library:
        advice = "install builds it anew" if needs.installs else f"dkms autoinstall -k {coming}, before any reboot"
        return warn(name, f"for {coming} it is {built}, the library is {library}", advice, "the same version")
    if built:
        return ok(name, f"{built} for {coming}")
    if not driver_version(found):
        return ok(name, f"none for {coming} yet" + (": install builds it" if needs.installs else ""))
    known = shown(sorted(f"{version} for {kernel}" for kernel, version in found["kernels"]["modules"].items()))
    advice = "do not reboot before it is built: " + (
        "install does that" if needs.installs else f"dkms autoinstall -k {coming}"
    )
    return warn(name, f"none for {coming} ({known or 'none for any kernel'})", advice, "the driver's module")
