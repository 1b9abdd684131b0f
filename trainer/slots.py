"""How a machine is divided into slots, each of which runs one experiment at a time. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from dagstore.errors import BadInput
from dagstore.platforms import platform_of, shared_by
from trainer.devices import Gpu

MAX_SLOTS = 1024
SHARE = "DAG_GPU_SHARE"
"""The variable that tells an experiment which fraction of its GPU to keep to; set only where others share it."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
MEMORY = "DAG_GPU_MEMORY"
"""The variable that tells it how many bytes of memory that is."""
JAX_SHARE = 0.9
"""What JAX may take of a slot's memory at once; the rest is for what it does not count."""


class Machine(NamedTuple):
    """What there is to divide. `cores` are in the order in which neighbours share most; `near` are those of each GPU.

    `processor` is the platform of an experiment that has all cores and no GPU.
    """

    gpus: tuple[Gpu, ...]
    near: tuple[frozenset[int], ...]
    cores: tuple[int, ...]
    processor: str


@dataclass(frozen=True, slots=True)
class Slot:
    """What an experiment in it gets. `cores` empty: whatever the trainer has. `told` are variables of the contract."""

    name: str
    platform: str
    cores: tuple[int, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)


class _Share(NamedTuple):
    """The GPUs of a slot, as numbers, and how many slots share each."""

    gpus: tuple[int, ...]
    sharers: int


def divide(machine: Machine, environ: Mapping[str, str], slots: int | None, per_gpu: int | None) -> tuple[Slot, ...]:
    """The slots of a machine: one a GPU, or one on the CPU, unless `slots` or `per_gpu` (slots on each GPU) is given.

    Cores are divided evenly, near the slot's GPU where the system tells. What `environ` sets stays as it is, but for
    the devices. A single slot that has everything gets everything as it is.
    """
    shares = _shares(len(machine.gpus), slots, per_gpu)
    if len(shares) == 1 and shares[0].sharers == 1:
        gpus = platform_of(gpu.name for gpu in machine.gpus)
        return (Slot("1", gpus or machine.processor),)
    cores = _divide_cores(machine, shares)
    return tuple(
        Slot(
            name=str(number),
            platform=_platform(machine, share),
            cores=mine,
            variables=_devices(machine, share) | _unless_set(environ, _limits(machine, share, mine)),
            told=_told(machine, share),
        )
        for number, (share, mine) in enumerate(zip(shares, cores, strict=True), start=1)
    )


def _shares(gpus: int, slots: int | None, per_gpu: int | None) -> list[_Share]:
    if slots is not None and per_gpu is not None:
        raise BadInput("--slots and --per-gpu were both given", hint="--per-gpu alone says how many slots there are")
    if per_gpu is not None and not gpus:
        raise BadInput("--per-gpu was given, and no GPU is visible", hint="divide the CPU with --slots")
    if not gpus:
        return [_Share((), slots or 1)] * (slots or 1)
    if per_gpu is not None:
        return [_Share((gpu,), per_gpu) for gpu in range(gpus) for _ in range(per_gpu)]
    return _whole_gpus(gpus, slots or gpus)


def _whole_gpus(gpus: int, slots: int) -> list[_Share]:
    if slots > gpus:
        raise BadInput(f"{slots} slots do not fit on {gpus} GPUs", hint="share GPUs with --per-gpu")
    each, rest = divmod(gpus, slots)
    if rest:
        raise BadInput(f"{gpus} GPUs cannot be divided into {slots} equal slots", hint="choose a divisor")
    return [_Share(tuple(range(slot * each, slot * each + each)), 1) for slot in range(slots)]


def _platform(machine: Machine, share: _Share) -> str:
    gpus = platform_of(machine.gpus[gpu].name for gpu in share.gpus)
    return shared_by(gpus or machine.processor, share.sharers)


def _devices(machine: Machine, share: _Share) -> dict[str, str]:
    """Devices are named by UUID; by number, in the order of the bus, where the driver tells none."""
    if not share.gpus:
        return {}
    names = [machine.gpus[gpu].uuid or str(gpu) for gpu in share.gpus]
    return {"CUDA_VISIBLE_DEVICES": ",".join(names), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _limits(machine: Machine, share: _Share, cores: Sequence[int]) -> dict[str, str]:
    """Threads for the slot's cores; memory of a shared GPU as JAX calls it, and CUDA's MPS, which enforces it."""
    limits = dict.fromkeys(THREADS, str(len(cores)))
    if share.gpus and share.sharers > 1:
        limits["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{JAX_SHARE / share.sharers:.3f}"
        if memory := _memory(machine, share):
            limits["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={memory >> 20}M"
    return limits


def _told(machine: Machine, share: _Share) -> dict[str, str]:
    if not share.gpus or share.sharers == 1:
        return {}
    memory = _memory(machine, share)
    return {SHARE: f"{1 / share.sharers:.6g}"} | ({MEMORY: str(memory)} if memory else {})


def _memory(machine: Machine, share: _Share) -> int:
    return machine.gpus[share.gpus[0]].memory // share.sharers


def _unless_set(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in environ}


def _divide_cores(machine: Machine, shares: Sequence[_Share]) -> list[tuple[int, ...]]:
    """The cores of each slot: those near its first GPU if that works out for all slots, else just a part of all."""
    near = [machine.near[share.gpus[0]] & set(machine.cores) if share.gpus else frozenset() for share in shares]
    groups = dict.fromkeys(near)
    if not all(groups) or sum(map(len, groups)) != len(frozenset().union(*groups)):
        return _parts(machine.cores, len(shares))
    parts = {
        group: iter(_parts([core for core in machine.cores if core in group], near.count(group))) for group in groups
    }
    return [next(parts[group]) for group in near]


def _parts(cores: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """So many equal parts; of too few cores, one for several."""
    if count > len(cores):
        return [(cores[part * len(cores) // count],) for part in range(count)]
    ends = [part * len(cores) // count for part in range(count + 1)]
    return [tuple(cores[low:high]) for low, high in pairwise(ends)]
