"""How much memory is in use on the devices that an experiment sees, by NVIDIA's library."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from trainer.gauge import UNKNOWN, Device


def device_memory(visible: str | None, load: Callable[[], Any] | None = None) -> Device:
    """A gauge of the devices in `CUDA_VISIBLE_DEVICES`; None shows all. `load` gives the binding.

    Counts by device, not by process: the driver numbers processes as its own machine does, which a container does not.
    So what another program takes meanwhile is counted too.
    """
    nvml = (load or _pynvml)()
    if nvml is None:
        return UNKNOWN
    handles = list(_handles(nvml, visible))
    return Device(lambda: _used(nvml, handles)) if handles else UNKNOWN


def _pynvml() -> Any:
    """The binding, its library loaded; None where there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None
    return pynvml


def _handles(nvml: Any, visible: str | None) -> Iterator[Any]:
    names = [str(index) for index in range(nvml.nvmlDeviceGetCount())] if visible is None else visible.split(",")
    for name in map(str.strip, names):
        with contextlib.suppress(nvml.NVMLError):
            by_index = name.isdecimal()
            yield nvml.nvmlDeviceGetHandleByIndex(int(name)) if by_index else nvml.nvmlDeviceGetHandleByUUID(name)


def _used(nvml: Any, handles: list[Any]) -> int | None:
    try:
        return sum(int(nvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles)
    except nvml.NVMLError:
        return None
