"""How much memory is in use on the devices that an experiment sees, by NVIDIA's library."""

from collections.abc import Callable
from typing import Any

from trainer.devices import start_nvml, visible_handles
from trainer.gauge import UNKNOWN, Device


def device_memory(visible: str | None, load: Callable[[], Any] = start_nvml) -> Device:
    """A gauge of the devices in `CUDA_VISIBLE_DEVICES`; None shows all. `load` starts the library.

    Counts by device, not by process: the driver numbers processes as its own machine does, which a container does not.
    So what another program takes meanwhile is counted too.
    """
    nvml = load()
    if nvml is None:
        return UNKNOWN
    try:
        handles = visible_handles(nvml, visible)
    except nvml.NVMLError:
        return UNKNOWN
    return Device(lambda: _used(nvml, handles)) if handles else UNKNOWN


def _used(nvml: Any, handles: list[Any]) -> int | None:
    try:
        return sum(int(nvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles)
    except nvml.NVMLError:
        return None
