"""Says what this machine is: the platform that runs are ranked by, an interpreter's fingerprint, where programs are."""

import contextlib
import functools
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dagstore.errors import BadInput
from dagstore.platforms import platform_of
from trainer.devices import driver_version, visible_gpus
from trainer.slots import Machine

_PROBE_SECONDS = 30.0
_SHELL_WORD = re.compile(r"\||\|\||&|&&|<|>|>>|2>&1|.*;")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_PROBE = """
import json, os, platform, sys
from importlib import metadata
def version(*names):
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
facts = {
    "python": platform.python_version(),
    "implementation": platform.python_implementation(),
    "torch": version("torch"),
    "cuda": version("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12",
                    "nvidia-cuda-runtime-cu11"),
    "triton": version("triton"),
    "jax": version("jax"),
    "numpy": version("numpy"),
}
places = [*sys.path, sys.prefix, sys.base_prefix, sys.exec_prefix]
folders = [path for path in dict.fromkeys(places) if os.path.isdir(path)]
print(json.dumps([{name: fact for name, fact in facts.items() if fact}, folders]))
"""


def platform_name(visible: str | None = None) -> str:
    """The devices an experiment gets, as runs are ranked by: `NVIDIA H100 80GB HBM3`, `2x NVIDIA A100`, `cpu: …`.

    `visible` is the experiment's `CUDA_VISIBLE_DEVICES`.
    """
    return platform_of(gpu.name for gpu in visible_gpus(visible)) or processor_name(len(usable_cores()))


def this_machine(visible: str | None = None) -> Machine:
    """What there is to divide into slots, with the devices that `CUDA_VISIBLE_DEVICES` shows."""
    gpus, cores = visible_gpus(visible), usable_cores()
    near = tuple(cores_near(gpu.bus) for gpu in gpus)
    return Machine(tuple(gpus), near, tuple(cores), processor_name(len(cores)))


def processor_name(cores: int) -> str:
    """The platform of experiments without a GPU: `cpu: AMD EPYC, 2 cores`."""
    return f"cpu: {_processor()}, {cores} cores"


@functools.cache
def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine() or "unknown"


def usable_cores() -> list[int]:
    """The CPUs that this process may use, those that share a core or a socket beside each other."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return sorted(cores, key=lambda core: (_topology(core, "physical_package_id"), _topology(core, "core_id"), core))


def _topology(core: int, fact: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/sys/devices/system/cpu/cpu{core}/topology/{fact}").read_text())
    return 0


def cores_near(bus: str) -> frozenset[int]:
    """The CPUs on the memory that a device is attached to; empty where the system does not say."""
    with contextlib.suppress(OSError, ValueError):
        return cores_in(Path(f"/sys/bus/pci/devices/{bus}/local_cpulist").read_text() if bus else "")
    return frozenset()


def cores_in(text: str) -> frozenset[int]:
    """The CPUs in a list as the kernel writes it, `0-3,8`; `ValueError` if it is none."""
    ranges = (part.partition("-") for part in text.strip().split(",") if part)
    return frozenset(core for low, _, high in ranges for core in range(int(low), int(high or low) + 1))


_Stamp = tuple[tuple[str, int], ...]
_known: dict[str, tuple[_Stamp, dict[str, str]]] = {}


def environment(python: str) -> dict[str, str]:
    """What may change a number besides code and device: interpreter, numeric packages, driver, operating system.

    Asks the interpreter once and imports none of the packages; asks again when the interpreter or one of its package
    folders has changed. `python` is `unknown` if it does not answer within 30 s.
    """
    stamp, facts = _known.get(python, ((), {}))
    if not stamp or stamp != _stamp([path for path, _ in stamp]):
        facts, folders = _probe(python)
        if folders:
            _known[python] = (_stamp([python, *folders]), facts)
    system = {"os": platform.system(), "kernel": platform.release(), "machine": platform.machine()}
    driver = driver_version()
    return {**facts, **({"driver": driver} if driver else {}), **system}


def interpreter_folders(python: str) -> list[str]:
    """Where an interpreter and its packages lie; empty if it does not answer."""
    environment(python)
    stamp, _ = _known.get(python, ((), {}))
    return [path for path, _ in stamp[1:]]


def _stamp(paths: Sequence[str]) -> _Stamp:
    return tuple((path, os.stat(path).st_mtime_ns if os.path.exists(path) else 0) for path in paths)


def _probe(python: str) -> tuple[dict[str, str], list[str]]:
    """The interpreter's facts and its package folders."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        facts, folders = json.loads(done.stdout)
        return {str(name): str(fact) for name, fact in facts.items()}, [str(path) for path in folders]
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, AttributeError):
        return {"python": "unknown"}, []


def find_python(argv: Sequence[str], search_path: str) -> str:
    """The interpreter that a resolved command most likely uses: its own, if it is one, else that on `search_path`."""
    if argv and os.path.isabs(argv[0]) and re.fullmatch(r"python[0-9.]*", os.path.basename(argv[0])):
        return argv[0]
    return _which("python", search_path) or _python3(search_path)


def _python3(search_path: str) -> str:
    """`python3` on `search_path`, else the interpreter that runs this."""
    return _which("python3", search_path) or sys.executable


def resolve(command: str, search_path: str) -> tuple[str, ...]:
    """The charter's command as arguments, its program looked up on `search_path`; no shell is involved.

    A program with a slash stays relative to the workspace, and one that is not found stays as it is: running it will
    say so. `BadInput` if the command is empty, its quotes are unbalanced, or it is written for a shell.
    """
    argv = _split(command)
    if "/" in argv[0]:
        return argv
    found = _which(argv[0], search_path)
    if found is None and argv[0] == "python":
        found = _python3(search_path)
    return (found or argv[0], *argv[1:])


def _split(command: str) -> tuple[str, ...]:
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise BadInput(f"command {command!r} cannot be split: {error}", hint="balance its quotes in dag.toml") from None
    if not argv or not argv[0]:
        raise BadInput(f"command {command!r} names no program", hint='say what to run: command = "python train.py"')
    if "\0" in command:
        raise BadInput(f"command {command!r} holds a NUL", hint="remove it in dag.toml")
    if _ASSIGNMENT.fullmatch(argv[0]):
        raise BadInput(f"command {command!r} begins with an assignment", hint=f"write: env {command}")
    operator = _operator(command)
    if operator:
        raise BadInput(f"command {command!r} needs a shell for {operator}", hint="run a script, or: sh -c '…'")
    return tuple(argv)


def _operator(command: str) -> str:
    """The first word that only a shell would understand. Quotes stay on here, so a quoted operator is none."""
    try:
        words = shlex.split(command, posix=False)
    except ValueError:  # a backslash before a quote, which this mode takes literally
        return ""
    return next((word for word in words if _SHELL_WORD.fullmatch(word)), "")


def _which(name: str, search_path: str) -> str | None:
    """Relative folders are left out: they would mean another place in each workspace."""
    folders = [folder for folder in search_path.split(os.pathsep) if os.path.isabs(folder)]
    return shutil.which(name, path=os.pathsep.join(folders)) if folders else None
