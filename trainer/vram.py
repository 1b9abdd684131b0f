"""How much memory is in use on the devices that an experiment sees, by NVIDIA's library."""

from collections.abc import Callable, Collection
from typing import Any

from trainer.devices import start_nvml, visible_handles
from trainer.gauge import UNKNOWN, Device

CUDA = 1 << 30
"""Bytes that a process may take of a shared device on top of its share: its context, and what libraries load."""


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
    return Device(lambda _: _used(nvml, handles)) if handles else UNKNOWN


def shared_memory(visible: str | None, memory: int, load: Callable[[], Any] = start_nvml) -> Device:
    """A gauge of what some processes alone take of devices that others use as well; more than `memory` is too much.

    Not counted against them is `CUDA` bytes, about what a process takes before its first tensor. The driver numbers
    processes as its own machine does: a trainer in a container finds none of them, and measures nothing.
    """
    nvml = load()
    try:
        handles = visible_handles(nvml, visible) if nvml is not None else []
    except nvml.NVMLError:
        return UNKNOWN
    return Device(lambda pids: _used_by(nvml, handles, pids), memory + CUDA if memory else 0) if handles else UNKNOWN


def _used_by(nvml: Any, handles: list[Any], pids: Collection[int]) -> int | None:
    try:
        found = [one for handle in handles for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    except nvml.NVMLError:
        return None
    return sum(one.usedGpuMemory or 0 for one in found if one.pid in pids)


def _used(nvml: Any, handles: list[Any]) -> int | None:
    try:
        return sum(int(nvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles)
    except nvml.NVMLError:
        return None
