"""Budgets, signals, limits and peaks of a command, and the words for what ended it."""

import os
import signal
import sys
import textwrap
import uuid
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dagstore.model import Ended, Status
from trainer.ending import Ending
from trainer.gauge import Limits, written
from trainer.metrics import Metrics
from trainer.process import Command, execute
from trainer.variables import allowed
from trainer.verdict import judge, judge_evaluated, judge_evaluation
from trainer.view import narrow
from trainer.vram import device_memory, shared_memory

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc says it")
MEASURED = Metrics({"loss": 1.0}, {})


def command(folder: Path, code: str, **changes) -> Command:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(code))
    given = {"budget": 20.0, "grace": 0.0, "log_limit": 1 << 16, **changes}
    return Command(
        (sys.executable, "-S", "-E", str(path)), folder, {"PATH": "/usr/bin:/bin"}, mark=uuid.uuid4().hex, **given
    )


def word(ending: Ending, metrics: Metrics = MEASURED) -> tuple[str, str]:
    verdict = judge(ending, metrics, "loss", ())
    return verdict.status.value, verdict.ending.value


# Budgets


def test_the_budget_runs_from_when_it_is_ready(tmp_path):
    code = "import time\ntime.sleep(0.4)\nopen('ready', 'w')\ntime.sleep(1.0)\n"
    slow = execute(command(tmp_path, code, budget=0.8, grace=0.5, ready=tmp_path / "ready"))
    assert (slow.exit_code, slow.timed_out) == (0, False)
    assert execute(command(tmp_path, code, budget=0.8, grace=0.5)).timed_out


def test_who_is_ready_too_late_has_the_time_of_who_never_is(tmp_path):
    code = "import time\ntime.sleep(0.6)\nopen('ready', 'w')\ntime.sleep(30)\n"
    ending = execute(command(tmp_path, code, budget=0.5, grace=0.2, ready=tmp_path / "ready"))
    assert ending.timed_out
    assert ending.seconds < 3


@LINUX
def test_who_handles_sigusr2_can_write_a_checkpoint_first(tmp_path):
    code = """
    import signal, sys, time
    def checkpoint(number, frame):
        print('saved')
        sys.exit(0)
    signal.signal(signal.SIGUSR2, checkpoint)
    time.sleep(30)
    """
    ending = execute(command(tmp_path, code, budget=0.6))
    assert (ending.log, ending.exit_code, ending.timed_out) == (b"saved\n", 0, True)


def test_who_does_not_is_asked_by_sigterm(tmp_path):
    code = """
    import signal, sys, time
    signal.signal(signal.SIGTERM, lambda *_: print('asked') or sys.exit(0))
    time.sleep(30)
    """
    ending = execute(command(tmp_path, code, budget=0.6))
    assert (ending.log, ending.signal) == (b"asked\n", None)


# Limits


@LINUX
def test_memory_is_summed_over_processes_and_bounded(tmp_path):
    code = "import os, time\nif os.fork() and os.fork():\n    pass\nx = bytearray(b'x' * 60_000_000)\ntime.sleep(30)\n"
    ending = execute(command(tmp_path, code, limits=Limits(memory=150_000_000)))
    assert word(ending) == ("oom", "memory-limit")
    assert ending.host_peak > 150_000_000
    assert ending.seconds < 10


@LINUX
def test_what_forked_processes_share_counts_once(tmp_path):
    code = (
        "import os, time\nx = bytearray(b'x' * 80_000_000)\nfor _ in range(3):\n    if not os.fork():\n        break\n"
    )
    ending = execute(command(tmp_path, code + "time.sleep(0.8)\n", limits=Limits(memory=200_000_000)))
    assert word(ending) == ("ok", "finished")
    assert 80_000_000 < ending.host_peak < 200_000_000


@LINUX
def test_disk_is_bounded_and_sparse_files_count_by_what_is_there(tmp_path):
    limits = Limits(disk=20_000_000)
    full = execute(
        command(tmp_path, "f = open('big', 'wb')\nwhile True:\n    f.write(b'x' * 1_000_000)\n", limits=limits)
    )
    assert word(full) == ("crashed", "disk-limit")
    (tmp_path / "big").unlink()
    sparse = execute(command(tmp_path, "import os\nos.truncate(os.open('sparse', 66), 1 << 40)\n", limits=limits))
    assert word(sparse) == ("ok", "finished")
    assert written(str(tmp_path), 1 << 40) < 1_000_000


# Words


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (Ending(exit_code=0), ("ok", "finished")),
        (Ending(exit_code=3, log=b"ValueError: x"), ("crashed", "exit-code")),
        (Ending(signal=signal.SIGSEGV), ("crashed", "signal")),
        (Ending(exit_code=1, log=b"torch.OutOfMemoryError: CUDA out of memory. Tried"), ("oom", "device-memory")),
        (Ending(exit_code=1, log=b"MemoryError"), ("oom", "host-memory")),
        (Ending(exit_code=1, log=b"RuntimeError: CUDA error: device-side assert triggered"), ("crashed", "exit-code")),
        (Ending(exit_code=1, log=b"RuntimeError: CUDA error: unspecified launch failure"), ("crashed", "exit-code")),
        (
            Ending(exit_code=1, log=b"RuntimeError: CUDA error: uncorrectable ECC error encountered"),
            ("infra", "device-lost"),
        ),
        (Ending(exit_code=1, log=b"Unable to determine the device handle: GPU is lost."), ("infra", "device-lost")),
        (Ending(exit_code=1, log=b"OSError: [Errno 28] No space left on device"), ("crashed", "exit-code")),
        (Ending(exit_code=1, log=b"OSError: [Errno 28] No space", disk_full=True), ("infra", "disk-full")),
        (Ending(exit_code=1, log=b"bwrap: Can't mount proc: no", confined=True), ("infra", "no-sandbox")),
        (Ending(exit_code=1, log=b"bwrap: execvp x: No such file", confined=True), ("crashed", "exit-code")),
        (Ending(timed_out=True), ("timeout", "time-limit")),
        (Ending(cancelled=True), ("cancelled", "stopped")),
        (Ending(), ("infra", "status-lost")),
    ],
)
def test_every_ending_has_a_word(ending, said):
    assert word(ending) == said


def test_a_loss_that_ended_in_nan_names_a_crash():
    nan = Metrics({}, {"train_loss": "nan"})
    verdict = judge(Ending(exit_code=1, log=b"FAIL"), nan, "loss", ())
    assert (verdict.status, verdict.ending) == (Status.CRASHED, Ended.NOT_FINITE)
    assert verdict.reason == "exit code 1: FAIL; train_loss is nan"
    assert word(Ending(exit_code=0), Metrics({}, {"loss": "inf"})) == ("invalid", "not-finite")
    assert word(Ending(exit_code=0), Metrics()) == ("invalid", "no-metric")


def test_an_evaluation_that_fails_is_the_experiments_and_a_fault_of_the_machine_is_not():
    assert judge_evaluated(Ending(exit_code=0), ()) is None
    assert judge_evaluated(Ending(exit_code=0), ("a.py",)).status is Status.TAMPERED
    failed = judge_evaluation(Ending(exit_code=1, log=b"KeyError: 'w'"), Metrics(), "loss")
    assert (failed.status, failed.ending) == (Status.INVALID, Ended.EVALUATION_FAILED)
    assert failed.reason == "the evaluation failed: exit code 1: KeyError: 'w'"
    assert judge_evaluation(Ending(failure="x"), Metrics(), "loss").status is Status.INFRA
    assert judge_evaluation(Ending(exit_code=0), MEASURED, "loss").ending is Ended.FINISHED


# What is measured and shown


class FakeNvml:
    """Two devices; the second is lost after a while."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.used = [1_000, 500]
        self.processes = [[], []]

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        if index > 1:
            raise self.NVMLError
        return index

    def nvmlDeviceGetUUID(self, handle):
        return ["GPU-a", "GPU-b"][handle]

    def nvmlDeviceGetMemoryInfo(self, handle):
        if self.used[handle] < 0:
            raise self.NVMLError
        return type("Info", (), {"used": self.used[handle]})

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.processes[handle]]


def test_the_devices_peak_is_what_came_on_top_of_what_was_in_use(tmp_path):
    nvml = FakeNvml()
    device = device_memory("1", lambda: nvml)

    def grow(chunk: bytes) -> None:
        nvml.used[1] = 2_500

    code = "import time\nprint('here', flush=True)\ntime.sleep(0.5)\n"
    ending = execute(command(tmp_path, code, device=device), on_output=grow)
    assert ending.device_peak == 2_000


def test_more_than_its_share_of_a_device_ends_an_experiment_and_no_neighbour(tmp_path):
    nvml = FakeNvml()
    shared = shared_memory("1", 4 << 30, lambda: nvml)
    code = """
        import os, time
        print(os.getpid(), flush=True)
        while not os.path.exists("measured"):
            time.sleep(0.01)
    """

    def used(pids):
        found = shared.used(pids)
        if found == 5 << 30:
            (tmp_path / "measured").touch()
        return found

    def run(size: int) -> Ending:
        def grow(chunk: bytes) -> None:
            nvml.processes[1] = [(1, 40 << 30), (int(chunk), None), (int(chunk), size)]

        (tmp_path / "measured").unlink(missing_ok=True)
        return execute(command(tmp_path, code, device=replace(shared, used=used)), on_output=grow)

    within, over = run(5 << 30), run((5 << 30) + 1)
    assert (within.exit_code, within.excess, within.device_peak) == (0, "", 5 << 30)
    assert (over.excess, over.device_peak) == ("device", (5 << 30) + 1)
    assert word(over) == ("oom", "device-memory")


def test_where_no_process_of_a_shared_device_is_known_nothing_is_measured(tmp_path):
    nvml = FakeNvml()
    nvml.processes[0] = [(1, 40 << 30)]
    ending = execute(command(tmp_path, "print('here')", device=shared_memory("0", 1 << 30, lambda: nvml)))
    assert (ending.exit_code, ending.device_peak) == (0, 0)
    assert shared_memory("0", 1 << 30, lambda: None).used(()) is None


def test_devices_are_those_that_are_visible():
    nvml = FakeNvml()
    assert device_memory(None, lambda: nvml).used(()) == 1_500
    assert device_memory("GPU-b", lambda: nvml).used(()) == 500
    assert device_memory("0,7", lambda: nvml).used(()) == 1_000
    assert device_memory("", lambda: None).used(()) is None
    nvml.used[1] = -1
    assert device_memory(None, lambda: nvml).used(()) is None


def test_variables_that_sound_like_secrets_are_left_out_unless_asked_for():
    environ = {"PATH": "p", "HF_TOKEN": "t", "UV_PUBLISH_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "k", "TORCH_HOME": "h"}
    environ |= {"TRITON_CACHE_DIR": "c", "https_proxy": "u:p@x", "LC_ALL": "C", "RANDOM": "1"}
    assert set(allowed(environ, (), network=False)) == {"PATH", "TORCH_HOME", "LC_ALL"}
    assert set(allowed(environ, ("HF_TOKEN",), network=True)) == {
        "PATH",
        "TORCH_HOME",
        "LC_ALL",
        "https_proxy",
        "HF_TOKEN",
    }


def test_no_folder_is_shown_that_holds_something_private(tmp_path):
    for name in ("home/.dag", "home/venv/bin", "tools"):
        (tmp_path / name).mkdir(parents=True)
    os.symlink(tmp_path / "home", tmp_path / "alias")
    asked = [str(tmp_path / name) for name in ("home", "alias", "home/venv", "home/venv/bin", "tools")]
    private = [str(tmp_path / "home" / ".dag")]
    assert narrow([*asked, "/", "/usr/bin"], private) == (str(tmp_path / "tools"), str(tmp_path / "home" / "venv"))
