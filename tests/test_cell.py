"""What confines an experiment, in every strength that works here, against scripts that try to get out."""

import os
import sys
from pathlib import Path

import pytest

import dagstore
from dagstore.testing.hostile import HOSTILE
from trainer.cell import Level
from trainer.sandbox import Sandbox, strongest
from trainer.view import View
from trainer.worker import Setting, Worker

CHARTER = """command = "python -S train.py"
metric = "val_bpb"
direction = "minimize"
budget = "{budget}"
grace = "500ms"
editable = ["train.py"]
locked = ["prepare.py", "evaluate.py"]
memory = "400MiB"
disk = "64MiB"
log_limit = "256KiB"
{more}
"""
LEVELS = [level for level in Level if level is not Level.NONE]
FILES = [Level.BUBBLEWRAP, Level.NAMESPACES, Level.LANDLOCK]


def sandbox_of(level: Level) -> Sandbox:
    found = strongest([level])
    if found.level is not level:
        pytest.skip(f"{level} does not work here: {found.lacking}")
    return found


def best() -> Sandbox:
    found = strongest(list(Level))
    if not found.is_whole:
        pytest.skip(found.remark)
    return found


class Yard:
    """A project beside a home folder with a secret in it."""

    def __init__(self, folder: Path, sandbox: Sandbox, more: str = "", budget: str = "30s", **files: str) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.secret = self.home / "secret"
        self.secret.write_text("hunter2")
        self.root = folder / "project"
        self.root.mkdir()
        texts = {"prepare": "LABEL = 1\n", "train": "print('val_bpb: 9')\n", **files}
        for name, text in texts.items():
            (self.root / f"{name}.py").write_text(text)
        (self.root / "dag.toml").write_text(CHARTER.format(budget=budget, more=more))
        dagstore.init(self.root)
        self.store = dagstore.open(self.root)
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        environ = {"PATH": path, "HOME": str(self.home), "SOME_TOKEN": "hunter2", "OMP_NUM_THREADS": "1", "FAR": "away"}
        self.worker = Worker(self.store, Setting("yard", environ, sandbox=sandbox))

    def run(self, code: str):
        (self.root / "train.py").write_text(code)
        node = self.store.record(self.root, ["@seed"], why="hostile").node
        self.store.queue([node])
        (*_, run) = self.worker.work(until_idle=True)
        return run

    def log(self, run, name: str = "log") -> str:
        return self.store.blob(run.artifacts[name]).decode()


@pytest.fixture
def yard(tmp_path):
    made: list[Yard] = []

    def make(*arguments, **options) -> Yard:
        made.append(Yard(tmp_path, *arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


# The strengths


@pytest.mark.parametrize("level", LEVELS)
def test_an_honest_experiment_is_measured_in_each_and_the_run_says_in_which(yard, level):
    one = yard(sandbox_of(level))
    code = "import os, tempfile\nopen('here', 'w'); tempfile.TemporaryFile(); open(os.path.expanduser('~/x'), 'w')\n"
    run = one.run(code + "open(os.environ['DAG_OUT'] + '/model', 'w')\nprint('val_bpb: 0.5')\n")
    assert (run.value, run.environment["sandbox"]) == (0.5, level.value), one.log(run)
    assert sorted(path.name for path in one.home.iterdir()) == ["secret"]


@pytest.mark.parametrize("level", FILES)
def test_secrets_are_not_there(yard, level):
    one = yard(sandbox_of(level))
    script = next(one for one in HOSTILE if one.name == "reads secrets").script(str(one.secret), 1)
    run = one.run(script)
    assert (run.status.value, run.value) == ("ok", 1.0), one.log(run)
    assert "ESCAPED" not in one.log(run)


@pytest.mark.parametrize("level", FILES)
def test_another_experiment_s_files_are_not_there(yard, level):
    one = yard(sandbox_of(level))
    other = one.store.folder / "scratch" / "other" / "work"
    other.mkdir(parents=True)
    (other / "train.py").write_text("theirs")
    run = one.run(
        f"try:\n    print(open({str(other / 'train.py')!r}).read())\nexcept OSError:\n    print('val_bpb: 1')\n"
    )
    assert run.value == 1.0
    assert "theirs" not in one.log(run)


@pytest.mark.parametrize("level", FILES)
def test_nothing_is_written_outside(yard, level):
    one = yard(sandbox_of(level))
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    script = next(one for one in HOSTILE if one.name == "writes outside").script(str(one.secret), 1)
    run = one.run(script)
    assert run.value == 1.0
    assert one.secret.read_text() == "hunter2"
    assert sorted(path.name for path in one.home.iterdir()) == ["secret"]
    assert not Path("/etc/hostile").exists()
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


@pytest.mark.parametrize("level", FILES)
def test_no_privilege_is_left(yard, level):
    one = yard(sandbox_of(level))
    code = "for line in open('/proc/self/status'):\n    if line.startswith(('CapEff', 'CapBnd', 'NoNew')):\n"
    run = one.run(code + "        print(line.split()[0], int(line.split()[1], 16))\nprint('val_bpb: 1')\n")
    said = set(one.log(run).splitlines())
    assert {"CapEff: 0", "NoNewPrivs: 1"} <= said
    assert "CapBnd: 0" in said or os.geteuid() != 0


def test_locked_files_cannot_be_changed_but_others_can(yard):
    one = yard(best())
    code = "import os\nopen('train.py', 'a').write('#')\nfor act in (os.remove, lambda path: open(path, 'w')):\n"
    code += "    try:\n        act('prepare.py')\n    except OSError:\n        print('val_bpb: 1')\n"
    run = one.run(code)
    assert (run.status.value, run.value) == ("ok", 1.0)


def test_variables_are_an_allow_list_that_the_charter_extends(yard):
    one = yard(best(), 'environment = ["FAR"]')
    run = one.run("import os\nprint(sorted(os.environ))\nprint(os.environ['FAR'])\nprint('val_bpb: 1')\n")
    log = one.log(run)
    assert "SOME_TOKEN" not in log
    assert "OMP_NUM_THREADS" in log
    assert "away\n" in log


@pytest.mark.parametrize("level", LEVELS)
def test_data_that_the_charter_names_can_be_read_where_it_lies_and_below_the_home(yard, level, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "numbers").write_text("1")
    one = yard(sandbox_of(level), f'data = ["{data}", "~/corpus"]')
    (one.home / "corpus").mkdir()
    (one.home / "corpus" / "numbers").write_text("2")
    code = f"import os\nplaces = ({str(data)!r}, os.path.expanduser('~/corpus'))\n"
    code += "found = [open(path + '/numbers').read() for path in places]\n"
    code += (
        "try:\n    open(os.path.expanduser('~/corpus/numbers'), 'w')\n    print('written')\nexcept OSError:\n    pass\n"
    )
    run = one.run(code + "print('val_bpb:', sum(map(float, found)))\n")
    assert run.value == 3.0, one.log(run)
    assert level is Level.RLIMITS or (one.home / "corpus" / "numbers").read_text() == "2"


def test_data_that_is_missing_or_holds_secrets_is_said(yard):
    one = yard(best(), 'data = ["~/nothing"]')
    assert one.run("print('val_bpb: 1')\n").status.value == "infra"
    assert "no such file or folder" in one.store.runs("@last")[-1].reason


def test_a_folder_that_holds_the_store_is_no_data(yard):
    one = yard(best(), 'data = ["/"]')
    run = one.run("print('val_bpb: 1')\n")
    assert run.status.value == "crashed"
    assert "must not see" in run.reason


def test_what_requires_a_sandbox_runs_in_a_whole_one_only(yard):
    whole, weak = best(), strongest([Level.RLIMITS])
    one = yard(weak, 'sandbox = "required"')
    run = one.run("print('val_bpb: 1')\n")
    assert (run.status.value, run.ending, run.value) == ("infra", "no-sandbox", None)
    assert "install bubblewrap" in run.reason
    one.worker = Worker(one.store, Setting("whole", {"PATH": os.environ["PATH"]}, sandbox=whole))
    assert one.run("print('val_bpb: 2')\n").value == 2.0


def test_a_held_cell_can_be_joined_and_its_end_is_the_end_of_all_in_it(tmp_path):
    for name in ("work", "tmp", "home"):
        (tmp_path / name).mkdir()
    work, scratch, home = (str(tmp_path / name) for name in ("work", "tmp", "home"))
    cell = best().cell(View(work, (), (work,), scratch, home, home))
    with cell.hold() as held:
        own = os.stat("/proc/self/ns/pid").st_ino
        assert os.stat(f"/proc/{held.pid}/ns/pid").st_ino != own
        assert b"bwrap" in Path(f"/proc/{held.pid}/cmdline").read_bytes() or cell.level is not Level.BUBBLEWRAP
    left = Path(f"/proc/{held.pid}/stat")
    assert not left.exists() or left.read_text().rpartition(")")[2].split()[0] in "ZX"


# Hostile experiments

SLOW = {"ignores SIGTERM and SIGUSR2", "sleeps for ever"}


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda one: one.name.replace(" ", "-"))
def test_it_is_contained_and_named_and_the_next_one_is_measured(yard, hostile):
    one = yard(best(), budget="500ms" if hostile.name in SLOW else "30s")
    run = one.run(hostile.script(str(one.secret), 8))
    assert (run.status.value, run.ending) in hostile.endings, (run.reason, one.log(run)[-500:])
    assert "ESCAPED" not in one.log(run)
    assert one.secret.read_text() == "hunter2"
    assert len(one.log(run)) < 300_000
    assert run.reason.isprintable()
    assert list((one.store.folder / "scratch").glob("*")) == []
    assert one.run("print('val_bpb: 0.25')\n").value == 0.25
