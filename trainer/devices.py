"""The NVIDIA devices of this machine, as the driver tells of them; no CUDA is involved."""

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

_DRIVER = re.compile(r"^NVRM version:.*?\s(\d+(?:\.\d+)+)", re.MULTILINE)

T = TypeVar("T")


class Gpu(NamedTuple):
    """A device. `memory` in bytes, 0 if unknown; `bus` as in /sys/bus/pci/devices, empty if unknown."""

    uuid: str
    name: str
    memory: int = 0
    bus: str = ""


def visible_gpus(visible: str | None) -> list[Gpu]:
    """The devices that an experiment sees with this `CUDA_VISIBLE_DEVICES`: None shows all, an empty string none.

    Numbers are taken in the driver's order, which is CUDA's own only where all devices are alike or
    `CUDA_DEVICE_ORDER=PCI_BUS_ID`. As CUDA does, stops at the first that does not exist.
    """
    if visible is not None and not visible.strip():
        return []
    gpus = _gpus_of_nvml() or _gpus_of_proc()
    if visible is None:
        return gpus
    found = []
    for wanted in visible.split(","):
        gpu = _gpu(gpus, wanted.strip())
        if gpu is None:
            break
        found.append(gpu)
    return found


def _gpu(gpus: Sequence[Gpu], wanted: str) -> Gpu | None:
    if wanted.isdecimal():
        return gpus[int(wanted)] if int(wanted) < len(gpus) else None
    return next((gpu for gpu in gpus if wanted and gpu.uuid.startswith(wanted)), None)


def _gpus_of_nvml() -> list[Gpu]:
    """Every device, in the driver's order."""

    def devices(nvml: Any) -> list[Gpu]:
        handles = (nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount()))
        return [_of_nvml(nvml, handle) for handle in handles]

    return _ask_nvml(devices) or []


def _of_nvml(nvml: Any, handle: Any) -> Gpu:
    memory, bus = 0, ""
    with contextlib.suppress(nvml.NVMLError):  # not every device tells
        memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
        bus = _text(nvml.nvmlDeviceGetPciInfo(handle).busId)
    return Gpu(_text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle)), memory, _bus(bus))


def _bus(text: str) -> str:
    """`00000000:3B:00.0`, as NVML writes it, in the words of /sys: `0000:3b:00.0`."""
    domain, _, rest = text.lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else ""


def _ask_nvml(question: Callable[[Any], T]) -> T | None:
    """What NVIDIA's library says to it; None without the binding, a driver or an answer."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return question(pynvml)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    """Older releases of the binding answer in bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _gpus_of_proc() -> list[Gpu]:
    """The same from the driver's own files, where the binding is not installed."""
    gpus = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with contextlib.suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()
            facts = {name.strip(): fact.strip() for name, _, fact in (line.partition(":") for line in lines)}
            if "Model" in facts:
                gpus.append(Gpu(facts.get("GPU UUID", ""), facts["Model"], bus=path.parent.name.lower()))
    return gpus


def driver_version() -> str:
    """The version of the NVIDIA driver, empty where there is none."""
    with contextlib.suppress(OSError):
        return driver_in(Path("/proc/driver/nvidia/version").read_text(errors="replace"))
    return _ask_nvml(lambda nvml: _text(nvml.nvmlSystemGetDriverVersion())) or ""


def driver_in(text: str) -> str:
    """The version in what the driver's own file says, empty if it says none."""
    found = _DRIVER.search(text)
    return found[1] if found else ""
