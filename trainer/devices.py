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
    told = _ask_nvml(lambda nvml: [_of_nvml(nvml, handle) for handle in visible_handles(nvml, visible)])
    return told or _named(_gpus_of_proc(), lambda gpu: gpu.uuid, visible)


def visible_handles(nvml: Any, visible: str | None) -> list[Any]:
    """What NVIDIA's library calls these devices by, in the same order; a part of a device (MIG) by its own UUID."""
    every = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    if visible is not None and visible.startswith("MIG-"):
        return [nvml.nvmlDeviceGetHandleByUUID(name.strip()) for name in visible.split(",")]
    return _named(every, lambda handle: _text(nvml.nvmlDeviceGetUUID(handle)), visible)


def _named(devices: Sequence[T], uuid: Callable[[T], str], visible: str | None) -> list[T]:
    """Those that are named, up to the first that is not there."""
    found: list[T] = []
    for wanted in () if visible is None else map(str.strip, visible.split(",")):
        if wanted.isdecimal():
            matching = devices[int(wanted) : int(wanted) + 1]
        else:
            matching = [device for device in devices if wanted and uuid(device).startswith(wanted)]
        if not matching:
            break
        found.append(matching[0])
    return list(devices) if visible is None else found


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


def start_nvml() -> Any:
    """NVIDIA's library, started; None without the binding or a driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None
    return pynvml


def _ask_nvml(question: Callable[[Any], T]) -> T | None:
    """What NVIDIA's library says to it; None without the library or an answer."""
    nvml = start_nvml()
    if nvml is None:
        return None
    try:
        return question(nvml)
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


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
