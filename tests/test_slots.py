"""Slots: how a machine is divided, several experiments at a time, and what is seen of them from another terminal."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dagstore
from dagstore import BadInput, Status
from dagstore.platforms import shared_by, sharers
from dagstore.spending import gpus
from trainer.devices import Gpu
from trainer.machine import cores_in
from trainer.slots import Machine, divide

LINUX = sys.platform == "linux"
linux = pytest.mark.skipif(not LINUX, reason="processes are found in /proc, and killed trainers by setpriv")
DAG = Path(sys.executable).parent / "dag"
PATIENCE = 30
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("DAG_", "CUDA_", "OMP_", "MKL_"))}
CHARTER = """sandbox = "none"
command = "sh train.sh"
metric = "val_bpb"
direction = "minimize"
budget = "60s"
grace = "1s"
editable = ["train.sh"]
"""
FAKE_NVML = """
import types
class NVMLError(Exception): pass
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetHandleByUUID(uuid): return int(uuid.removeprefix("GPU-"))
def nvmlDeviceGetUUID(index): return f"GPU-{index}"
def nvmlDeviceGetName(index): return "H100"
def nvmlDeviceGetMemoryInfo(index): return types.SimpleNamespace(total=80 << 30, used=0)
def nvmlDeviceGetPciInfo(index): return types.SimpleNamespace(busId=f"00000000:0{index}:00.0")
def nvmlDeviceGetComputeRunningProcesses(index): return []
def nvmlSystemGetDriverVersion(): return "570"
"""


# How a machine is divided


def machine(gpus=0, cores=8, near=None, memory=80 << 30):
    devices = tuple(Gpu(f"GPU-{number}", "H100", memory) for number in range(gpus))
    return Machine(devices, tuple(near or [frozenset()] * gpus), tuple(range(cores)), f"cpu: X, {cores} cores")


@pytest.mark.parametrize(
    ("devices", "slots", "per_gpu", "platforms"),
    [
        (0, None, None, ["cpu: X, 8 cores"]),
        (0, 2, None, ["cpu: X, 8 cores (1 of 2 slots)"] * 2),
        (1, None, None, ["H100"]),
        (4, None, None, ["H100"] * 4),
        (4, 2, None, ["2x H100"] * 2),
        (4, 1, None, ["4x H100"]),
        (2, None, 2, ["H100 (1 of 2 slots)"] * 4),
        (1, None, 1, ["H100"]),
    ],
)
def test_what_shares_a_device_is_another_platform(devices, slots, per_gpu, platforms):
    assert [slot.platform for slot in divide(machine(devices), {}, slots, per_gpu)] == platforms


@pytest.mark.parametrize(
    ("devices", "slots", "per_gpu", "hint"),
    [(0, None, 2, "--slots"), (2, 4, None, "--per-gpu"), (4, 3, None, "divisor"), (2, 2, 2, "--per-gpu")],
)
def test_what_does_not_divide_is_refused_with_what_to_do(devices, slots, per_gpu, hint):
    with pytest.raises(BadInput) as refused:
        divide(machine(devices), {}, slots, per_gpu)
    assert hint in refused.value.hint


@given(st.integers(1, 64), st.integers(2, 16))
def test_cores_are_divided_evenly_and_used_once(cores, slots):
    parts = [slot.cores for slot in divide(machine(0, cores), {}, slots, None)]
    assert all(parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    if slots <= cores:
        assert sorted(core for part in parts for core in part) == list(range(cores))


@given(st.integers(1, 8), st.integers(1, 4))
def test_slots_get_cores_near_their_gpu_where_the_system_says(each, per_gpu):
    near = [frozenset(range(8)), frozenset(range(8, 16))] * each
    slots = divide(machine(2 * each, 16, near), {}, None, per_gpu)
    for slot in slots:
        number = int(slot.variables["CUDA_VISIBLE_DEVICES"].removeprefix("GPU-"))
        assert set(slot.cores) <= near[number]


def test_a_system_that_knows_nothing_of_nearness_divides_all_cores():
    for near in ([frozenset(), frozenset({1})], [frozenset({0, 1}), frozenset({1, 2})], [frozenset({99})] * 2):
        slots = divide(machine(2, 4, near), {}, None, None)
        assert [slot.cores for slot in slots] == [(0, 1), (2, 3)]


def test_a_shared_gpu_is_told_with_its_memory_and_what_is_set_stays():
    first, *_ = divide(machine(1), {"OMP_NUM_THREADS": "7"}, None, 4)
    assert first.told == {"DAG_GPU_SHARE": "0.25", "DAG_GPU_MEMORY": str(20 << 30)}
    assert first.variables == {
        "CUDA_VISIBLE_DEVICES": "GPU-0",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "MKL_NUM_THREADS": "2",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.225",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": f"0={20 << 10}M",
    }
    unknown, *_ = divide(machine(1, memory=0), {}, None, 2)
    assert unknown.told == {"DAG_GPU_SHARE": "0.5"}


def test_one_slot_with_everything_changes_nothing():
    for devices in (0, 1, 2):
        (slot,) = divide(machine(devices), {}, 1, None)
        assert (slot.cores, slot.variables, slot.told) == ((), {}, {})


@given(st.sampled_from(["H100", "2x A100", "A, 2x B"]), st.integers(1, 64))
def test_gpu_seconds_of_a_shared_gpu_are_a_part(platform, slots):
    assert sharers(shared_by(platform, slots)) == slots
    assert gpus(shared_by(platform, slots)) == gpus(platform) / slots


def test_lists_of_cores_are_read_as_the_kernel_writes_them():
    assert cores_in("0-2,8\n") == {0, 1, 2, 8}
    assert cores_in("\n") == frozenset()


# Several at a time


class Project:
    def __init__(self, root):
        self.root = root
        root.mkdir()
        (root / "dag.toml").write_text(CHARTER)
        (root / "train.sh").write_text("echo val_bpb: 0\n")
        dagstore.init(root)
        self.environ = dict(ENVIRON)

    def start(self, *words):
        return subprocess.Popen(
            [DAG, *words],
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def dag(self, *words, code=0):
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        return out, err

    def json(self, *words, code=0):
        return json.loads(self.dag(*words, "--json", code=code)[0])

    def queue(self, *scripts):
        nodes = []
        with self.store() as store:
            for script in scripts:
                (self.root / "train.sh").write_text(script)
                nodes.append(str(store.record(self.root, ["@seed"], why="an idea").node))
            store.queue(nodes)
        return nodes

    def store(self):
        return dagstore.open(self.root)

    def held(self):
        with self.store() as store:
            return [ticket for ticket in store.tickets() if ticket.token]

    def experiments(self):
        """Living processes of this project's experiments."""
        with self.store() as store:
            mark = f"DAG_CLAIM={store.uuid}-".encode()
        return [path for path in Path("/proc").glob("[0-9]*/environ") if mark in read(path)]

    def assert_tidy(self):
        with self.store() as store:
            assert not store.tickets()
            assert not store.claims()
            assert list((store.folder / "scratch").glob("*")) == []
            assert store.fsck("full").clean
        assert not self.experiments()


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def eventually(condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


@linux
def test_two_slots_run_two_experiments_at_a_time(project, tmp_path):
    meet = f"touch {tmp_path}/$DAG_SEED; until test $(ls {tmp_path} | grep -c '^[0-9]') = 2; do sleep 0.01; done"
    script = f"{meet}\necho val_bpb: {{}}\necho threads: $OMP_NUM_THREADS\necho cores: $(nproc)\n"
    nodes = project.queue(script.format(1), script.format(2))
    answer = project.json("train", "--slots", "2", "--until-idle")
    cores = len(os.sched_getaffinity(0))
    assert sorted(run["node"] for run in answer["runs"]) == sorted(nodes)
    for run in answer["runs"]:
        assert run["status"] == "ok"
        assert run["platform"].endswith(f"{cores} cores (1 of 2 slots)")
        assert run["metrics"]["threads"] == run["metrics"]["cores"] == max(1, cores // 2)
    assert len({run["runner"] for run in answer["runs"]}) == 2
    assert answer["slot_time"]["slots"] == 2
    assert 0 < answer["slot_time"]["share"] < 1
    project.assert_tidy()


@linux
def test_slots_of_shared_gpus_are_told_of_them(project, tmp_path):
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "pynvml.py").write_text(FAKE_NVML)
    project.environ["PYTHONPATH"] = str(tmp_path / "fake")
    (node,) = project.queue("echo $CUDA_VISIBLE_DEVICES $DAG_GPU_MEMORY\necho val_bpb: 1\n")
    (run,) = project.json("train", "--per-gpu", "2", "--until-idle")["runs"]
    assert run["platform"] == "H100 (1 of 2 slots)"
    words = project.json("logs", node)["log"].split()
    assert words[0] in {"GPU-0", "GPU-1"}
    assert words[1] == str(40 << 30)
    assert project.json("run", node, "--repeat", "1")["runs"][0]["platform"] == "H100"


@linux
def test_a_slot_that_was_killed_is_started_again_and_its_experiment_measured(project, tmp_path):
    nodes = project.queue(f"mkdir {tmp_path}/once && kill -9 $PPID\necho val_bpb: 1\n", "echo val_bpb: 2\n")
    began = time.monotonic()
    runs = project.json("train", "--slots", "2", "--until-idle")["runs"]
    assert time.monotonic() - began < PATIENCE  # its claim would last a minute
    assert sorted(run["node"] for run in runs) == sorted(nodes)
    with project.store() as store:
        assert sorted(run.status.value for run in store.runs()) == ["lost", "ok", "ok"]
    project.assert_tidy()


@linux
def test_a_slot_that_dies_again_and_again_ends_the_work_with_a_reason(project):
    project.queue(*(f"kill -9 $PPID\nsleep {60 + number}\n" for number in range(8)))
    _, err = project.dag("train", "--slots", "2", code=7)
    assert "killed by signal 9" in err
    assert "3 times" in err
    eventually(lambda: not project.experiments())


@linux
def test_what_kills_its_slot_twice_is_set_aside_shown_and_tried_when_asked(project):
    killer, *others = project.queue(
        "kill -9 $PPID\nsleep 60\n", *(f"echo val_bpb: {number}\n" for number in range(1, 6))
    )
    runs = project.json("train", "--slots", "2", "--until-idle")["runs"]
    assert sorted(run["node"] for run in runs) == sorted(others)
    out, err = project.dag("queue")
    assert "set aside: 2 trainers died over it" in out
    assert "dag queue --again" in err
    assert "--again" in project.dag("queue", killer)[0]
    assert [ticket["node"] for ticket in project.json("queue", "--again")["queued"]] == [killer]
    assert "waits" in project.dag("queue")[0]
    assert project.json("queue", "--again", killer)["queued"] == []


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whatever_ends_the_trainer_ends_its_slots(project, number):
    project.queue("echo 1; sleep 60\n", "echo 2; sleep 60\n")
    process = project.start("train", "--slots", "2")
    eventually(lambda: len(project.held()) == 2 and len(project.experiments()) >= 2)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    eventually(lambda: not project.held() and not project.experiments())
    with project.store() as store:
        assert len(store.tickets()) == 2
        assert not store.runs()


def test_what_goes_wrong_in_a_slot_is_the_answer(project):
    project.queue("echo val_bpb: 1\n")
    (project.root / ".dag" / "scratch").write_text("no folder")
    _, err = project.dag("train", "--slots", "2", "--until-idle", code=7)
    assert "scratch" in err


def test_slots_that_cannot_be_are_refused(project):
    project.environ["CUDA_VISIBLE_DEVICES"] = ""
    _, err = project.dag("train", "--per-gpu", "2", code=4)
    assert "no GPU is visible" in err


# Seen from another terminal


@linux
def test_a_running_experiment_is_watched_followed_and_cancelled(project):
    (node,) = project.queue("printf 'epoch 3 loss 0.5 \\033[2J\\n'\nsleep 60\n")
    trainer = project.start("train", "--until-idle", "--json")
    slot = eventually(lambda: next((s for s in project.json("top")["slots"] if "loss" in s["said"]), None))
    assert (slot["node"], slot["budget"], slot["told"]) == (node, 60.0, True)
    out, _ = project.dag("top", "--once")
    assert "1 of 1 slot busy, 0 in line" in out
    assert "\x1b" not in out
    assert project.json("logs", node) == {
        "run": None,
        "node": node,
        "ticket": slot["ticket"],
        "status": "running",
        "log": "epoch 3 loss 0.5 \x1b[2J\n",
    }
    assert project.dag("logs", str(slot["ticket"]))[0] == "epoch 3 loss 0.5 \\x1b[2J\n"
    follower = project.start("logs", node, "--follow")
    assert follower.stdout.readline() == "epoch 3 loss 0.5 \\x1b[2J\n"
    began = time.monotonic()
    assert [ticket["node"] for ticket in project.json("cancel", node)["ending"]] == [node]
    (run,) = json.loads(trainer.communicate(timeout=PATIENCE)[0])["runs"]
    assert time.monotonic() - began < 10  # the experiment would last a minute
    assert run["status"] == "cancelled"
    assert "ended: cancelled" in follower.communicate(timeout=PATIENCE)[1]
    assert project.json("logs", run["id"][:12])["run"] == run["id"]
    assert project.json("top")["slots"] == []
    project.assert_tidy()


def test_what_waits_is_cancelled_at_once(project):
    nodes = project.queue("echo val_bpb: 1\n", "echo val_bpb: 2\n")
    first = project.json("queue")["queued"][0]
    answer = project.json("cancel", str(first["number"]), nodes[1])
    assert [ticket["node"] for ticket in answer["cancelled"]] == nodes
    assert answer["ending"] == []
    _, err = project.dag("cancel", nodes[0], code=3)
    assert "not in line" in err
    project.assert_tidy()


def test_logs_of_what_was_never_measured_say_what_to_do(project):
    _, err = project.dag("logs", "@seed", code=3)
    assert "dag run @seed" in err
    project.dag("logs", "@seed", "--follow", "--json", code=2)


def test_a_claim_without_a_desk_is_shown_as_that(project):
    (node,) = project.queue("echo val_bpb: 1\n")
    with project.store() as store:
        store.take("elsewhere", 60.0)
    (slot,) = project.json("top")["slots"]
    assert (slot["node"], slot["runner"], slot["told"]) == (node, "elsewhere", False)
    assert "claimed by elsewhere" in project.dag("top")[0]


@linux
def test_a_terminal_shows_the_slots_and_never_what_an_experiment_commands(project):
    project.queue("printf 'loss 0.5 \\033]0;evil\\007\\033[2J\\n'\nsleep 1\necho val_bpb: 0.25\n")
    owner, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    project.environ["TERM"] = "xterm-256color"
    words = [DAG, "train", "--until-idle"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(words, cwd=project.root, env=project.environ, stderr=terminal, **quiet)
    os.close(terminal)
    drawn = b"".join(iter(lambda: read_some(owner), b"")).decode()
    assert process.wait(PATIENCE) == 0
    os.close(owner)
    assert "1 of 1 slot busy, 0 in line" in drawn
    assert "loss 0.5" in drawn
    assert "val_bpb 0.25" in drawn
    assert "\x1b]0;" not in drawn
    assert "\x1b[2J" not in drawn
    assert "\x07" not in drawn


def read_some(handle):
    try:
        return os.read(handle, 4096)
    except OSError:  # nobody has the terminal open any more
        return b""


# A trainer that was presumed dead


PAUSED = """
import os, sys
import dagstore
from trainer.worker import Setting, Worker

with dagstore.open(sys.argv[1]) as store:
    for run in Worker(store, Setting("paused", {"PATH": "/usr/bin:/bin"}, ttl=1.0)).work(until_idle=True):
        pass
"""


@linux
def test_a_trainer_that_comes_back_records_nothing_and_goes_on(project, tmp_path):
    from trainer.worker import Setting, Worker

    (first,) = project.queue(f"if mkdir {tmp_path}/once; then sleep 60; fi\necho val_bpb: 1\n")
    paused = subprocess.Popen([sys.executable, "-P", "-c", PAUSED, str(project.root)], stdin=subprocess.DEVNULL)
    eventually((tmp_path / "once").exists)
    paused.send_signal(signal.SIGSTOP)
    with project.store() as store:
        other = Worker(store, Setting("other", {"PATH": "/usr/bin:/bin"}))
        eventually(other.next)
    (second,) = project.queue("echo val_bpb: 2\n")
    assert not project.experiments()
    paused.send_signal(signal.SIGCONT)
    assert paused.wait(PATIENCE) == 0
    with project.store() as store:
        told = [(str(run.node), run.status, run.runner) for run in store.runs()]
    assert told == [(first, Status.LOST, "paused"), (first, Status.OK, "other"), (second, Status.OK, "paused")]
    project.assert_tidy()
