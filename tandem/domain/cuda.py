"""The proof that CUDA works inside the engine's container, and what its errors mean. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

ERRORS: Final = {
    3: "not initialized: the driver's library was loaded and found no working driver",
    100: "no device: the container sees no card: is the CDI specification of this driver and this boot?",
    101: "invalid device: a card that the CDI specification names is not there",
    304: "operating system call failed: a device node or a library is missing in the container",
    801: "not supported by this driver",
    802: "the system is not ready yet: the driver is still being initialised",
    803: "the driver's library and its kernel module do not match: either the image's own CUDA compatibility library "
    "was taken instead of the host's (it must not be on the library path: VLLM_ENABLE_CUDA_COMPATIBILITY=0), or the "
    "host's library was changed under the loaded module (reboot)",
    804: "forward compatibility was tried on a card that has none: GeForce cards need a driver that is new enough for "
    "the image's CUDA; its compatibility library must not be loaded",
    999: "unknown error: the driver failed; the kernel log (journalctl -k, NVRM) says why, often only a reboot helps",
}


def key(driver: str, image: str, specification: str, cards: Sequence[int], environment: Mapping[str, str]) -> list[Any]:
    """What a proof is good for: with another one of these it has to be made again.

    + driver: the loaded module's version
    + specification: SHA-256 of the CDI specification
    """
    return [driver, image, specification, sorted(cards), dict(environment)]


def verdict(answer: Mapping[str, Any], cards: int) -> str:
    """Why the test in the container failed; "" when cuInit succeeded and it counts ``cards`` devices.

    + answer: {"library": why libcuda.so.1 can't be loaded or "", "init": cuInit's status, "count_status", "count"}
    """
    if answer.get("library"):
        why = answer["library"]
        return f"libcuda.so.1 can't be loaded in the container ({why}): the CDI specification does not bring it"
    for name, field in (("cuInit", "init"), ("cuDeviceGetCount", "count_status")):
        status = answer.get(field, 0)
        if status:
            return f"{name} failed with CUDA error {status}: {ERRORS.get(status, 'see the CUDA driver API manual')}"
    if answer.get("count") != cards:
        return f"CUDA counts {answer.get('count')} cards in the container, {cards} were given to it"
    return ""
