"""Control groups of experiments: what the kernel of this machine offers, and the protocol of both kinds in a folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.cell import Cell, Level
from trainer.cgroup import LIMIT, MACHINE, Bounds, Group, joining, make_group
from trainer.gauge import Limits
from trainer.process import Command, execute
from trainer.verdict import judge_evaluated

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
V1 = {"pids": ("pids.max",), "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")}
V2 = ("pids.max", "memory.max", "memory.swap.max", "memory.oom.group", "memory.events", "cgroup.kill")


@pytest.fixture
def group():
    made = make_group(Bounds(64, 100 << 20))
    if made is None:
        pytest.skip("no control group can be made here")
    yield made
    made.remove()
    assert not any(os.path.exists(file) for file in made.files)


def has(group: Group, name: str) -> bool:
    return any(os.path.exists(f"{os.path.dirname(file)}/{name}") for file in group.files)


def command(folder: Path, code: str, **limits) -> Command:
    (folder / "script.py").write_text(code)
    argv, env = (sys.executable, "-S", "-E", "script.py"), {"PATH": "/usr/bin:/bin"}
    cell = Cell(Level.RLIMITS, tasks=64)
    return Command(argv, folder, env, 20.0, 0.0, 1 << 16, folder.name, cell, limits=Limits(**limits))


def test_a_command_is_in_its_group_before_it_begins(group):
    done = subprocess.run(
        (*joining(group), "/bin/cat", "/proc/self/cgroup"), capture_output=True, text=True, check=True
    )
    names = {os.path.basename(os.path.dirname(file)) for file in group.files}
    assert len(names) == len(group.files)
    assert all(any(line.endswith(f"/{name}") for line in done.stdout.splitlines()) for name in names)


def test_memory_beyond_the_charter_s_is_named_by_the_kernel_before_a_look_could(group, tmp_path):
    """All at once, far faster than samples are taken."""
    if group.starved() is None:
        pytest.skip("no group that counts memory can be made here")
    code = "held = bytearray(b'x') * (900 << 20)\nprint('survived')\n"
    ending = execute(command(tmp_path, code, memory=100 << 20))
    assert (ending.signal, ending.excess, ending.log) == (signal.SIGKILL, "memory", b"")
    verdict = judge_evaluated(ending, ())
    assert (verdict.status.value, verdict.ending.value) == ("oom", "memory-limit")
    within = execute(command(tmp_path, "held = bytearray(b'x') * (20 << 20)\n", memory=100 << 20))
    assert (within.exit_code, within.excess, within.oom_killed) == (0, "", False)


def test_who_is_killed_by_another_did_not_run_out_of_memory(group, tmp_path):
    if group.starved() is None:
        pytest.skip("no group that counts memory can be made here")
    ending = execute(command(tmp_path, "import os\nos.kill(os.getpid(), 9)\n", memory=100 << 20))
    assert (ending.signal, ending.excess, ending.oom_killed) == (signal.SIGKILL, "", False)


def test_a_group_is_ended_as_a_whole(group):
    if not has(group, "cgroup.kill"):
        pytest.skip("the kernel does not offer it here")
    sleepers = [
        subprocess.Popen((*joining(group), "/bin/sh", "-c", "trap '' TERM; echo; sleep 60"), stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for sleeper in sleepers:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()  # it is in by then
    group.kill()
    assert [sleeper.wait(20) for sleeper in sleepers] == [-signal.SIGKILL] * 3
    for sleeper in sleepers:
        sleeper.stdout.close()


def test_tasks_are_bounded(group, tmp_path):
    if not has(group, "pids.max"):
        pytest.skip("no group that counts tasks can be made here")
    code = "import os, time\ntry:\n    for _ in range(80):\n        if os.fork() == 0:\n            time.sleep(30)\n"
    ending = execute(command(tmp_path, code + "except BlockingIOError:\n    print('bounded')\n"))
    assert ending.log == b"bounded\n"


def test_experiments_leave_no_group(tmp_path):
    code = "print(open('/proc/self/cgroup').read())"
    lines = execute(command(tmp_path, code)).log.decode().splitlines()
    used = {line.rpartition("/")[2] for line in lines if f"/dagstore-{os.getpid()}-" in line}
    mounts = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    assert not [folder for folder in mounts for name in used if (folder / name).exists()]


# The protocol, in a folder that stands for the hierarchies: what a kernel does with it is not tried by these.


def kernel(root: Path, monkeypatch, files: dict[str, tuple[str, ...]]) -> None:
    """Whatever is made in the hierarchies has these files at once, as the kernel's own file system does it."""
    for name in files:
        own = root / name / own_path(name)
        own.mkdir(parents=True, exist_ok=True)
        (own / "cgroup.procs").touch()
    real = os.mkdir

    def mkdir(path, mode=0o777):
        real(path, mode)
        for name in files[Path(path).relative_to(root).parts[0] if "" not in files else ""]:
            Path(path, name).touch()

    monkeypatch.setattr("trainer.cgroup.os.mkdir", mkdir)


def own_path(name: str) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == name:
            return path.strip("/")
    pytest.skip(f"this machine's kernel names no group for {name or 'v2'}")


def test_bounds_are_written_as_v2_has_them(tmp_path, monkeypatch):
    (tmp_path / "cgroup.controllers").touch()
    kernel(tmp_path, monkeypatch, {"": V2})
    group = make_group(Bounds(7, 4096), str(tmp_path))
    (folder,) = (Path(file).parent for file in group.files)
    group.kill()
    written = {name: (folder / name).read_text() for name in V2}
    bounds = {"pids.max": "7", "memory.max": "4096", "memory.swap.max": "0", "memory.oom.group": "1"}
    assert written == bounds | {"memory.events": "", "cgroup.kill": "1"}
    for events, said in (("oom 0\noom_kill 0", ""), ("oom 1\noom_kill 1", LIMIT), ("oom 0\noom_kill 2", MACHINE)):
        (folder / "memory.events").write_text(f"low 0\nmax 3\n{events}\noom_group_kill 0\n")
        assert group.starved() == said


def test_bounds_are_written_as_v1_has_them(tmp_path, monkeypatch):
    kernel(tmp_path, monkeypatch, V1)
    group = make_group(Bounds(7, 4096), str(tmp_path))
    folders = {Path(file).relative_to(tmp_path).parts[0]: Path(file).parent for file in group.files}
    pids, memory = folders["pids"], folders["memory"]
    assert (pids / "pids.max").read_text() == "7"
    assert (
        (memory / "memory.limit_in_bytes").read_text() == (memory / "memory.memsw.limit_in_bytes").read_text() == "4096"
    )
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    for most, said in (("4000", MACHINE), ("4096", LIMIT)):
        (memory / "memory.max_usage_in_bytes").write_text(f"{most}\n")
        assert group.starved() == said


def test_without_a_hierarchy_there_is_no_group(tmp_path):
    assert make_group(Bounds(7), str(tmp_path)) is None
    assert joining(None) == ()
