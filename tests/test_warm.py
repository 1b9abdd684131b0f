"""Warm parents as a trainer uses them: whom they serve, when they are replaced, and that they fail into the cold."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import dagstore
from trainer.cell import Cell, Level
from trainer.launch import Command
from trainer.nursery import MAX_PARENTS, Nursery
from trainer.process import become_subreaper, execute
from trainer.sandbox import strongest
from trainer.strays import children, sweep
from trainer.view import View, narrow, tools
from trainer.warm import Parent, Unfit
from trainer.worker import Setting, Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="warm parents are for Linux")
PLAIN = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
WARM, COLD = {"start": "warm"}, {"start": "cold"}


class Bench:
    def __init__(self, root):
        self.work = root / "work"
        self.work.mkdir()
        self.nursery = Nursery()
        self.modules = ("json",)

    def command(self, code="print('x')", *, argv=None, env=None, **changes):
        (self.work / "train.py").write_text(code)
        limits = {"budget": 20.0, "grace": 0.0, "log_limit": 1 << 16, "mark": "warm-test", **changes}
        return Command(argv or (sys.executable, "train.py"), self.work, {**PLAIN, **(env or {})}, **limits)

    def run(self, *code, stop=None, on_output=None, **changes):
        """How it started, and how it ended."""
        command = self.command(*code, **changes)
        start = self.nursery.start(command, self.modules)
        ending = execute(command, launch=start, stop=stop, on_output=on_output)
        return start.facts, ending

    def parents(self):
        """The processes of warm parents, as the machine sees them."""
        return [pid for pid in children() if _comes_from_here(pid)]


def _comes_from_here(pid):
    return b"TRAINER CONTROL MODULE" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture
def bench(tmp_path):
    assert become_subreaper()
    before = children()
    made = Bench(tmp_path)
    yield made
    made.nursery.close()
    assert children() - before == set()


@pytest.fixture
def warmed(bench):
    assert bench.run()[0] == COLD  # a parent that serves once is not worth its imports
    assert bench.run()[0] == WARM
    return bench


def test_two_hundred_in_a_row_leave_nothing(warmed):
    handles, processes = len(os.listdir("/proc/self/fd")), len(children() | {_ready(warmed)})
    for number in range(200):
        facts, ending = warmed.run(f"import sys; print({number}); sys.exit({number % 7})")
        assert (facts, ending.exit_code, ending.log) == (WARM, number % 7, b"%d\n" % number)
    assert len(os.listdir("/proc/self/fd")) == handles
    assert len(children() | {_ready(warmed)}) == processes


@pytest.mark.parametrize(
    "argv",
    [
        (sys.executable, "-u", "train.py"),
        (sys.executable, "-m", "train"),
        (sys.executable, "-c", "print('x')"),
        (sys.executable, "-O", "train.py"),
        ("/bin/sh", "-c", "echo x"),
        ("/usr/bin/env", sys.executable, "train.py"),
        ("/bin/echo", "train.py"),
    ],
)
def test_other_commands_start_cold(argv, warmed):
    for _ in range(2):
        facts, ending = warmed.run(argv=argv)
        assert facts == COLD
        assert ending.exit_code == 0


@pytest.mark.parametrize("kind", ["missing", "folder", "zip", "compiled", "own interpreter"])
def test_what_is_no_plain_script_starts_cold(kind, warmed, tmp_path):
    work, argv = warmed.work, (sys.executable, f"{kind}.py")
    if kind == "folder":
        (work / "folder.py").mkdir()
        (work / "folder.py" / "__main__.py").write_text("print('x')")
    elif kind == "zip":
        (work / "__main__.py").write_text("print('x')")
        subprocess.run([sys.executable, "-m", "zipfile", "-c", "zip.py", "__main__.py"], cwd=work, check=True)
    elif kind == "compiled":
        (work / "source.py").write_text("print('x')")
        subprocess.run([sys.executable, "-m", "compileall", "-bq", "source.py"], cwd=work, check=True)
        argv = (sys.executable, "source.pyc")
    elif kind == "own interpreter":
        (work / "python").symlink_to("/bin/echo")
        argv = (str(work / "python"), "train.py")
    for _ in range(2):
        facts, ending = warmed.run(argv=argv)
        assert facts == COLD
        assert ending.exit_code == (2 if kind == "missing" else 0)


@pytest.mark.parametrize(
    "name", ["json.py", "json/__init__.py", "decoder.py", "json.cpython-311.so", "types.py", "os.py"]
)
def test_modules_of_the_workspace_come_first(name, warmed):
    """A fresh interpreter would import these in place of what the parent has, except what no folder can shadow."""
    (warmed.work / name).parent.mkdir(exist_ok=True)
    (warmed.work / name).write_text("")
    facts, _ending = warmed.run()
    assert facts == (WARM if name in ("decoder.py", "os.py") else COLD)


def test_an_experiment_may_have_modules_of_our_names(warmed):
    for name in ("trainer", "parent", "warm", "nursery", "messages", "dagstore"):
        (warmed.work / f"{name}.py").write_text(f"NAME = 'own {name}'")
    facts, ending = warmed.run("import trainer, parent, dagstore; print(trainer.NAME, parent.NAME, dagstore.NAME)")
    assert (facts, ending.log) == (WARM, b"own trainer own parent own dagstore\n")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"PYTHONPATH": "lib"}, COLD),
        ({"PYTHONPATH": "/lib:"}, COLD),
        ({"PYTHONINSPECT": "1"}, COLD),
        ({"PYTHONTRACEMALLOC": "1"}, COLD),
        ({"PYTHONPATH": "/nowhere"}, WARM),
        ({"PYTHONHASHSEED": "3"}, WARM),
        ({"OMP_NUM_THREADS": "1"}, WARM),
    ],
)
def test_variables_that_children_cannot_have(env, expected, bench):
    bench.run(env=env)
    facts, ending = bench.run("import os; print(sorted(os.environ.items()))", env=env)
    assert facts == expected
    assert all(repr(pair).encode() in ending.log for pair in env.items())


def test_variables_of_a_child_need_no_other_parent(warmed):
    (parent,) = {pid for pid in warmed.parents() if pid != _ready(warmed)}
    for device in ("0", "1"):
        env = {"CUDA_VISIBLE_DEVICES": device, "DAG_SEED": device, "HOME": f"/nowhere/{device}", "TMPDIR": "/tmp"}
        facts, ending = warmed.run("import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['HOME'])", env=env)
        assert facts == (COLD if device == "0" else WARM)  # HOME and TMPDIR were not there before
        assert ending.log == f"{device} /nowhere/{device}\n".encode()
    assert parent in warmed.parents()


def _ready(bench):
    (parent,) = bench.nursery._parents.values()
    return _child(parent)


def _child(parent):
    """The process that a parent has ready, once it is there."""
    assert parent._child is not None
    parent._child._ready(time.monotonic() + 5)
    return parent._child._pid


def _parent(bench):
    (parent,) = bench.nursery._parents.values()
    return parent._process.pid


def test_what_the_parent_needs_is_not_in_the_child(warmed):
    facts, ending = warmed.run("import os; print([n for n in os.environ if 'TORCH' in n])")
    assert (facts, ending.log) == (WARM, b"[]\n")


def test_a_parent_is_replaced_when_its_environment_changes(bench, tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    module = packages / "inventory.py"
    module.write_text("VALUE = 1")
    bench.modules = ("inventory",)
    asked = {"env": {"PYTHONPATH": str(packages)}}
    code = "import inventory; print(inventory.VALUE)"
    assert [bench.run(code, **asked)[0], bench.run(code, **asked)[0]] == [COLD, WARM]
    first = _parent(bench)
    module.write_text("VALUE = 22")
    facts, ending = bench.run(code, **asked)
    assert (facts, ending.log) == (WARM, b"22\n")
    (packages / "other.py").touch()
    assert bench.run(code, **asked)[0] == WARM
    assert _parent(bench) != first


def test_modules_that_cannot_be_imported_are_told_once(bench):
    bench.modules = ("json", "no_such_module")
    facts = [bench.run()[0] for _ in range(4)]
    told = {"start": "cold: ModuleNotFoundError: No module named 'no_such_module'"}
    assert facts == [COLD, told, COLD, COLD]
    assert bench.parents() == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "threads"),
        ("print('welcome')", "print, and a script's log would lack it: welcome"),
        ("import os; os._exit(0)", "ended in the imports"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os.kill(os.getpid(), 9)", "ended in the imports"),
        ("raise ValueError('é\\udc80')", "ValueError: é"),
    ],
)
def test_modules_that_do_not_suit_start_cold(code, reason, bench, tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "odd.py").write_text(code)
    bench.modules = ("odd",)
    env = {"PYTHONPATH": str(packages)}
    bench.run(env=env)
    facts, ending = bench.run(env=env)
    assert reason in facts["start"]
    assert (ending.exit_code, ending.log) == (0, b"x\n")


def test_imports_that_take_too_long(bench, tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr("trainer.warm.LOAD_SECONDS", 0.2)
    bench.modules = ("slow",)
    env = {"PYTHONPATH": str(tmp_path)}
    bench.run(env=env)
    assert bench.run(env=env)[0] == {"start": "cold: the imports take more than 0.2 s"}


def test_a_trainer_that_is_told_to_stop_does_not_wait_for_imports(bench, tmp_path):
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Unfit, match="stopped"):
        Parent(sys.executable, ("slow",), {**PLAIN, "PYTHONPATH": str(tmp_path)}, stop)


@pytest.mark.parametrize("victim", [_parent, _ready])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGSTOP])
def test_a_hostile_script_costs_warmth_and_no_truth(victim, number, warmed, monkeypatch):
    monkeypatch.setattr("trainer.child.ANSWER_SECONDS", 0.3)
    attack = []

    def strike(_chunk):
        if not attack:
            attack.append(os.kill(victim(warmed), number))

    facts, ending = warmed.run("print('x'); import time; time.sleep(0.1)", on_output=strike)
    assert (facts, ending.exit_code) == (WARM, 0)
    for _ in range(4):
        facts, ending = warmed.run("print(open('seen', 'x').name)")
        (warmed.work / "seen").unlink()  # it ran once, however often it was tried
        assert (ending.exit_code, ending.log) == (0, b"seen\n")
    assert facts == WARM


def test_a_child_holds_nothing_of_its_parent(warmed):
    code = """import os
for handle in os.listdir('/proc/self/fd'):
    if os.path.exists(f'/proc/self/fd/{handle}'):
        print(handle, os.readlink(f'/proc/self/fd/{handle}'))
"""
    _facts, ending = warmed.run(code)
    lines = dict(line.split() for line in ending.log.decode().splitlines())
    assert set(lines) == {"0", "1", "2"}
    assert lines["0"] == "/dev/null"
    assert lines["1"] == lines["2"]


def test_what_a_child_does_to_its_streams_is_its_own_affair(warmed):
    warmed.run("import os; os.set_blocking(0, False); os.set_blocking(1, False)")
    facts, ending = warmed.run("import os; print(os.get_blocking(0), os.get_blocking(1))")
    assert (facts, ending.log) == (WARM, b"True True\n")


def test_children_differ_by_chance_and_not_by_what_ran_before(warmed):
    warmed.modules = ("json", "random", "numpy", "multiprocessing")
    code = """import random, numpy, multiprocessing as m
print(random.random(), numpy.random.rand(), m.current_process().authkey)
"""
    warmed.run(code)
    drawn = [warmed.run(code) for _ in range(3)]
    assert [facts for facts, _ in drawn] == [WARM] * 3
    columns = list(zip(*(ending.log.split(maxsplit=2) for _, ending in drawn), strict=True))
    assert all(len(set(column)) == 3 for column in columns)


def test_limits_and_processors_are_those_of_the_trainer_now(warmed):
    code = "import os, resource; print(os.sched_getaffinity(0), resource.getrlimit(resource.RLIMIT_CORE))"
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(affinity)})
    try:
        facts, ending = warmed.run(code)
    finally:
        os.sched_setaffinity(0, affinity)
    assert facts == WARM
    assert ending.log.startswith(f"{{{min(affinity)}}}".encode())


def test_budget_and_signals_reach_a_warm_child(warmed):
    code = """import signal, time
signal.signal(signal.SIGTERM, lambda *a: print('asked') or exit(3))
print('x')
time.sleep(60)
"""
    facts, ending = warmed.run(code, budget=0.5)
    assert (facts, ending.timed_out, ending.exit_code, ending.log) == (WARM, True, 3, b"x\nasked\n")
    stop = threading.Event()
    facts, ending = warmed.run("print('x')\nimport time; time.sleep(60)", stop=stop, on_output=lambda _: stop.set())
    assert (facts, ending.cancelled, ending.signal) == (WARM, True, signal.SIGTERM)


def test_orphans_of_a_warm_child_are_swept(warmed):
    code = """import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.environ.clear()
        open('pid', 'w').write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
os.wait()
while not os.path.exists('pid') or not open('pid').read(): time.sleep(0.01)
"""
    facts, ending = warmed.run(code)
    assert (facts, ending.exit_code, ending.strays) == (WARM, 0, 1)
    assert not Path(f"/proc/{(warmed.work / 'pid').read_text()}").exists()


def test_a_flood_is_bounded(warmed):
    facts, ending = warmed.run("import sys\nfor _ in range(200): sys.stdout.write('y' * 100_000)\nprint('end')")
    assert (facts, ending.exit_code) == (WARM, 0)
    assert len(ending.log) < (1 << 16) + 100
    assert ending.log_dropped > 19_000_000
    assert ending.log.endswith(b"end\n")


def test_memory_is_measured(warmed):
    facts, ending = warmed.run("x = bytearray(200 << 20)")
    assert facts == WARM
    assert 200 << 20 <= ending.peak_rss < 300 << 20


def test_a_sweep_by_mark_finds_forked_children(warmed):
    """A trainer that is killed cannot end them; the next one knows only the mark."""
    code = "print('DAG_CLAIM=warm-test' in open('/proc/self/environ').read().split('\\0'))"
    assert warmed.run(code)[1].log == b"True\n"


def test_few_parents_are_kept(bench):
    for modules in (("json",), ("csv",), ("calendar",), ("bisect",), ("colorsys",)):
        bench.modules = modules
        assert [bench.run()[0], bench.run()[0]] == [COLD, WARM]
        assert len(bench.nursery._parents) <= MAX_PARENTS
    kept = list(bench.nursery._parents.values())
    ready = {_child(parent) for parent in kept}
    assert set(bench.parents()) == {parent._process.pid for parent in kept} | ready


def test_all_ends_with_the_trainer(tmp_path):
    code = f"""
import os, sys, time
from pathlib import Path
from trainer.launch import Command
from trainer.nursery import Nursery
from trainer.process import become_subreaper, execute
become_subreaper()
work = Path({str(tmp_path)!r})
(work / "train.py").write_text("print(1)")
command = Command((sys.executable, "train.py"), work, {PLAIN!r}, 9.0, 0.0, 1000, "m")
nursery = Nursery()
for _ in range(3):
    start = nursery.start(command, ("json",)); execute(command, launch=start)
(parent,) = nursery._parents.values()
parent._child._ready(time.monotonic() + 5)
print(start.facts, parent._process.pid, parent._child._pid, flush=True)
os.kill(os.getpid(), 9)
"""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    *facts, parent, child = done.stdout.split()
    assert " ".join(facts) == "{'start': 'warm'}"
    deadline = time.monotonic() + 5
    while any(_lives(pid) for pid in (parent, child)) and time.monotonic() < deadline:
        os.sched_yield()
    assert not _lives(parent)
    assert not _lives(child)


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_two_trainers_have_parents_of_their_own(warmed, tmp_path):
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other")
    try:
        assert [other.run()[0], other.run()[0]] == [COLD, WARM]
        assert warmed.run()[0] == WARM
        assert _parent(other) != _parent(warmed)
    finally:
        other.nursery.close()
    assert warmed.run()[0] == WARM


def test_recorded_runs_say_how_they_started(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    (root / "train.py").write_text("print('val_bpb: 1.0')\n")
    charter = 'command = "python train.py"\nmetric = "val_bpb"\ndirection = "minimize"\nbudget = "9s"\n'
    (root / "dag.toml").write_text(charter + 'editable = ["train.py"]\npreload = ["json"]\n')
    dagstore.init(root)
    with dagstore.open(root) as store:
        store.queue(["@seed"], repeat=3)
        worker = Worker(store, Setting("bench", PLAIN))
        runs = list(worker.work(until_idle=True))
        worker.close()
    assert [run.environment["start"] for run in runs] == ["cold", "warm", "warm"]
    assert {run.value for run in runs} == {1.0}


ACROSS = """
import sys, os, traceback
print(sys.argv, sys.path, sys.flags, __file__, list(globals()), sys.excepthook, sys.exc_info())
print([name for name in dir(sys) if name.startswith('last_')], sorted(os.environ.items()))
traceback.print_stack()
sys.stdout.flush()
def f(): raise ValueError(sys.version_info[:2])
f()
"""


def _python(minor):
    """An interpreter of that version, no script that chooses one; None if there is none."""
    named = [shutil.which(f"python3.{minor}"), *Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3.{minor}")]
    for python in filter(None, named):
        asked = [python, "-c", "import ctypes, sys; print(sys.executable)"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return None


@pytest.mark.parametrize("minor", range(8, 15))
def test_other_versions_of_python(minor, bench):
    python = _python(minor)
    if python is None:
        pytest.skip(f"no Python 3.{minor} here")
    bench.run(argv=(python, "train.py"))
    facts, warm = bench.run(ACROSS, argv=(python, "train.py"))
    cold = execute(bench.command(ACROSS, argv=(python, "train.py")))
    assert facts == WARM
    assert (warm.log, warm.exit_code) == (cold.log, cold.exit_code)


def test_torch_seeds_and_trains_the_same(bench):
    pytest.importorskip("torch")
    bench.modules = ("torch",)
    code = """import torch
open(f"seed{torch.initial_seed()}", "x").close()
print(torch.get_num_threads(), torch.cuda.is_initialized())
torch.manual_seed(1)
x = torch.randn(64, 64, requires_grad=True)
(x @ x).sum().backward()
print(float(x.grad.sum()))
"""
    cold = bench.run(code)[1]
    warm = [bench.run(code) for _ in range(2)]
    assert [(facts, ending.log, ending.exit_code) for facts, ending in warm] == [(WARM, cold.log, 0)] * 2
    assert len(list(bench.work.glob("seed*"))) == 3  # like a fresh process, each begins with a seed of its own


# --- cells ---

SEEN = """
import os, resource, socket
status = open("/proc/self/status").read().splitlines()
print([line for line in status if line[:3] in ("Cap", "NoN", "Uid", "Gid", "Sec")])
print(open("/proc/self/cgroup").read())
print([resource.getrlimit(which) for which in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)])
print(*(sorted(os.listdir(path)) for path in ("/", "/dev", "/tmp")), os.getcwd(), socket.if_nameindex())
print(os.getpid() < 20, sum(name.isdigit() for name in os.listdir("/proc")) < 5)
for path in ("/proc/sys/kernel/core_pattern", "/usr/here", "/here", "here"):
    try:
        open(path, "a").close()
        print(path, "written")
    except OSError as error:
        print(path, error.errno)
print(os.listdir(os.path.dirname(os.getcwd())))
"""


@pytest.fixture(scope="module")
def sandbox():
    """Found out while there is no bench, whose warm parent has a child at any time: that would never end."""
    before = children()
    found = strongest((Level.BUBBLEWRAP, Level.NONE))
    for orphan in children() - before:  # of the trial, where this process inherits them already
        os.waitpid(orphan, 0)
    return found


@pytest.fixture
def cell(warmed, sandbox, tmp_path):
    """What confines the experiments of the bench, by bubblewrap: others cannot be joined."""
    if sandbox.level is Level.NONE:
        pytest.skip(sandbox.lacking[0][1])
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    folders = tools(PLAIN["PATH"], (sys.prefix, sys.base_prefix), "")
    work, home, tmp = (str(tmp_path / name) for name in ("work", "home", "tmp"))
    return sandbox.cell(View(work, narrow(folders, ()), (work,), tmp, home, "/nowhere"))


def _without_number(log):
    """Each has a control group of its own."""
    return re.sub(rb"dagstore-\d+-\d+", b"dagstore", log)


def test_a_warm_child_is_confined_as_a_cold_one(warmed, cell):
    cold = execute(warmed.command(SEEN, cell=cell))
    facts, warm = warmed.run(SEEN, cell=cell)
    assert (facts, warm.exit_code, cold.exit_code) == (WARM, 0, 0)
    assert _without_number(warm.log) == _without_number(cold.log)
    assert b"'CapBnd:\\t0000000000000000'" in warm.log
    assert b"'NoNewPrivs:\\t1'" in warm.log


def test_status_and_signals_come_out_of_a_cell(warmed, cell):
    assert warmed.run("raise SystemExit(5)", cell=cell)[1].exit_code == 5
    assert warmed.run("import os; os.abort()", cell=cell)[1].signal == signal.SIGABRT
    ending = warmed.run("1/0", cell=cell)[1]
    assert (ending.exit_code, ending.log.splitlines()[-1]) == (1, b"ZeroDivisionError: division by zero")


def test_what_outlives_a_warm_child_in_a_cell_is_ended(warmed, cell, tmp_path):
    code = """
    import os, time
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.environ.clear()
            os.write(writing, b"x")
            time.sleep(600)
        os._exit(0)
    os.read(reading, 1)
    """
    facts, ending = warmed.run(textwrap.dedent(code), cell=cell, mark=tmp_path.name)
    assert (facts, ending.exit_code) == (WARM, 0)
    assert sweep(tmp_path.name) == 0


def test_time_is_up_in_a_cell_too(warmed, cell):
    code = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: None); print('x', flush=True); time.sleep(60)"
    facts, ending = warmed.run(code, cell=cell, budget=0.3)
    assert (facts, ending.timed_out, ending.log) == (WARM, True, b"x\n")
    assert warmed.run(cell=cell)[0] == WARM


def test_where_no_cell_can_be_made_nothing_begins(warmed, cell):
    """The next is served as ever."""
    broken = replace(cell, prefix=("/bin/false",))
    facts, ending = warmed.run(cell=broken)
    assert facts["start"].startswith("cold: ")
    assert (ending.exit_code, ending.log) == (1, b"")
    assert warmed.run(cell=cell)[0] == WARM


@pytest.mark.parametrize("level", [Level.NAMESPACES, Level.LANDLOCK])
def test_confinement_that_cannot_be_joined_starts_cold(warmed, level):
    """Landlock is put upon a program as it starts."""
    for _ in range(2):
        assert warmed.run(cell=Cell(level, wrapper=level.is_whole))[0] == COLD
