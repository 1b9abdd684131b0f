"""One suite, every engine: the local one, a real Ray cluster of several node processes, a real Slurm of two nodes.

The clusters run on the loopback interface in folders of their own, started for this file and ended after it.
`make test-engines` installs what they need; elsewhere an engine that is not there is passed over with a reason.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

import dagstore
from dagstore import Status
from dagstore.testing.clusters import PATIENCE, Local, Ray, Slurm, output_of, running, until

LINUX = sys.platform == "linux"
pytestmark = [
    pytest.mark.engines,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not LINUX, reason="processes are found in /proc"),
]

DAG = Path(sys.executable).parent / "dag"
TTL = 6.0
REQUIRED = os.environ.get("DAG_TEST_ENGINES") == "required"
KEPT = {name: value for name, value in os.environ.items() if not name.startswith(("DAG_", "CUDA_", "RAY_", "SLURM_"))}
CHARTER = """command = "sh train.sh"
metric = "val_bpb"
direction = "minimize"
budget = "60s"
grace = "2s"
editable = ["train.sh"]
"""
OPEN = 'sandbox = "none"\n'
SLEEPING_ONCE = """echo begun
if [ -e {path} ]; then echo val_bpb: 1; exit; fi
echo $$ > {path}.new
mv {path}.new {path}
sleep 300
"""
DRIVER = """
import os, sys
import dagstore
from trainer.engines.catalogue import make_engine
from trainer.engines.core import Needs
from trainer.engines.driver import Command, Driver
from trainer.worker import Setting, Worker

root, name, ttl = sys.argv[1:]
runner = f"driver@here:{os.getpid()}"
with dagstore.open(root) as store:
    if name == "local":
        runs = Worker(store, Setting(runner, os.environ, ttl=float(ttl))).work(until_idle=True)
    else:
        runs = Driver(store, make_engine(name, Needs()), Command("driver", runner, float(ttl))).work(until_idle=True)
    for run in runs:
        pass
"""
WITHOUT = """
import sys
sys.path[:0] = sys.argv[1:3]
from cli.main import main
main(sys.argv[3:])
"""


# --- the clusters ---


def lacking(what: str, hint: str) -> None:
    if REQUIRED:
        pytest.fail(f"{what} is missing: {hint}")
    pytest.skip(f"{what} is missing: {hint}")


@pytest.fixture(scope="module")
def ray_cluster():
    if find_spec("ray") is None:
        lacking("Ray", "pip install 'dagstore[ray]'")
    with running(Ray, KEPT) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def slurm_cluster():
    if find_spec("submitit") is None:
        lacking("submitit", "pip install 'dagstore[slurm]'")
    if not all(shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") for name in ("slurmctld", "munged")):
        lacking("Slurm", "apt-get install slurm-wlm munge")
    with running(Slurm, KEPT) as cluster:
        yield cluster


@pytest.fixture(params=["local", "ray", "slurm"])
def place(request):
    return Local(KEPT) if request.param == "local" else request.getfixturevalue(f"{request.param}_cluster")


# --- one project on it ---


class Project:
    """A project whose path is not plain, and the commands on it."""

    def __init__(self, folder: Path, place) -> None:
        self.root = folder / "ein Prøjekt, 実験"
        self.root.mkdir()
        self.place = place
        self.seen = folder / "seen"
        self.seen.mkdir()

    def begin(self, script: str, more: str = "", **files: str) -> None:
        said = {line.partition(" ")[0] for line in more.splitlines()}
        rest = [line for line in CHARTER.splitlines(keepends=True) if line.partition(" ")[0] not in said]
        (self.root / "dag.toml").write_text("".join(rest) + more)
        (self.root / "train.sh").write_text(script)
        for name, text in files.items():
            (self.root / f"{name}.py").write_text(text)
        dagstore.init(self.root)

    def start(self, *words: str) -> subprocess.Popen[str]:
        argv = [DAG, "-C", self.root, *words, "--engine", self.place.name, "--json"]
        return subprocess.Popen(argv, env=self.place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def dag(self, *words: str, code: int = 0):
        """The answer of a command that is given an engine."""
        with self.start(*words) as process:
            out, said = process.communicate(timeout=500)
        assert process.returncode == code, (out, said)
        return json.loads(out)

    def run(self, *words: str, code: int = 0):
        (run,) = self.dag("run", "@seed", *words, code=code)["runs"]
        self.assert_whole()
        return run

    def blob(self, run, name: str = "log") -> bytes:
        with dagstore.open(self.root) as store:
            return store.blob(dagstore.BlobId.parse(run["artifacts"][name]))

    def assert_whole(self) -> None:
        """Nothing is in line or in hand, nothing is left of the work, and the store proves itself."""
        with dagstore.open(self.root) as store:
            assert not store.tickets()
            assert not store.claims()
            until(lambda: not list((store.folder / "scratch").glob("*")), "an empty scratch folder")
            assert store.fsck("full").clean

    def statuses(self) -> Counter:
        with dagstore.open(self.root) as store:
            return Counter(run.status for run in store.runs())

    def sleeping_once(self) -> str:
        """A script that says who it is and sleeps when it runs first, and measures when it runs again."""
        return SLEEPING_ONCE.format(path=self.seen / "pid")

    def sleeper(self) -> int:
        """The process that sleeps, once it does."""
        return int(until(lambda: (self.seen / "pid").exists() and (self.seen / "pid").read_text(), "the experiment"))


@pytest.fixture
def project(tmp_path, place):
    return Project(tmp_path, place)


def ancestor(pid: int, word: str) -> int:
    """The nearest process above `pid` whose command line has that word in it."""
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if word in Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace"):
            return pid
    pytest.fail(f"no process above has {word} in its command line")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- what every engine does ---


def test_an_experiment_brings_back_its_numbers_its_log_and_its_steps(project):
    steps = '{"step": 1, "loss": 2.5}\\n'
    project.begin(f"printf 'a\\000b\\377 \\303\\244\\n'\nprintf '{steps}' > $DAG_STEPS\necho val_bpb: 0.5\nls\n")
    run = project.run()
    assert (run["status"], run["metrics"]["val_bpb"], run["seed"], run["ending"]) == ("ok", 0.5, 1, "finished")
    assert project.blob(run) == b"a\0b\xff \xc3\xa4\nval_bpb: 0.5\ndag.toml\ntrain.sh\n"
    assert project.blob(run, "steps") == b'{"step": 1, "loss": 2.5}\n'
    assert run["environment"]["python"]
    assert run["platform"].startswith("cpu: ")


def test_the_answer_has_the_same_keys_everywhere(project):
    project.begin("echo val_bpb: 0.5\n")
    here = [DAG, "-C", project.root, "run", "@seed", "--repeat", "1", "--json"]
    expected = json.loads(subprocess.run(here, env=KEPT, capture_output=True, check=True).stdout)
    found = project.dag("run", "@seed", "--repeat", "1")
    assert found.keys() == expected.keys()
    assert found["runs"][0].keys() == expected["runs"][0].keys()
    drained = project.dag("train", "--until-idle")
    assert drained.keys() == {"runs", "slot_time"}
    assert drained["slot_time"].keys() == {"slots", "inside", "around", "waiting", "share"}


@pytest.mark.parametrize(
    ("script", "more", "status", "ending"),
    [
        ("echo oh no\nexit 3\n", "", "crashed", "exit-code"),
        ("kill -SEGV $$\n", "", "crashed", "signal"),
        ("echo begun\nsleep 100\n", 'budget = "1s"\n', "timeout", "time-limit"),
        ("echo nothing\n", "", "invalid", "no-metric"),
        ("echo '# more' >> dag.toml\necho val_bpb: 1\n", OPEN, "tampered", "evaluator-changed"),
    ],
)
def test_how_an_experiment_ends_is_told_the_same_everywhere(project, script, more, status, ending):
    project.begin(script, more)
    run = project.run(code=5)
    assert (run["status"], run["ending"]) == (status, ending)
    if status == "crashed" and ending == "exit-code":
        assert (run["exit_code"], project.blob(run)) == (3, b"oh no\n")


def test_a_hidden_evaluation_ranks(project):
    project.begin(
        "echo val_bpb: 0.001\necho 42 > $DAG_OUT/answer\nls\n",
        'evaluate = "sh judge.py"\nlocked = ["judge.py"]\nhidden = ["secret.py"]\n',
        judge='echo val_bpb: $(cat "$DAG_OUT/answer")$(cat secret.py)\n',
        secret="7",
    )
    run = project.run()
    assert (run["metrics"]["val_bpb"], run["metrics"]["reported_val_bpb"]) == (427, 0.001)
    assert b"secret.py" not in project.blob(run)
    assert b"val_bpb: 427" in project.blob(run, "evaluation")


def test_a_large_log_arrives_byte_for_byte(project):
    line = "0123456789abcdef" * 64
    count = 100_000
    project.begin(f"yes {line} | head -n {count}\necho val_bpb: 1\n", 'log_limit = "120MiB"\n')
    log = project.blob(project.run())
    assert len(log) == count * (len(line) + 1) + len("val_bpb: 1\n")
    assert log == f"{line}\n".encode() * count + b"val_bpb: 1\n"


def test_many_experiments_over_several_nodes_are_measured_once_each(project):
    project.begin("echo val_bpb: $DAG_SEED\n")
    with dagstore.open(project.root) as store:
        numbers = {ticket.number for ticket in store.queue(["@seed"], repeat=50)}
    runs = project.dag("train", "--until-idle", *project.place.many)["runs"]
    assert {run["metrics"]["val_bpb"] for run in runs} == numbers
    assert project.statuses() == {Status.OK: 50}
    project.assert_whole()


def test_what_is_cancelled_ends_and_keeps_its_log(project):
    project.begin(project.sleeping_once(), OPEN)
    with dagstore.open(project.root) as store:
        store.queue(["@seed"])
    with project.start("train", "--until-idle") as process:
        sleeper = project.sleeper()
        subprocess.run([DAG, "-C", project.root, "cancel", "@seed"], env=KEPT, check=True, capture_output=True)
        out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    (run,) = json.loads(out)["runs"]
    assert (run["status"], project.blob(run)) == ("cancelled", b"begun\n")
    assert not is_alive(sleeper)
    project.assert_whole()


def test_others_see_the_output_while_it_runs(project):
    project.begin(project.sleeping_once(), OPEN)
    with dagstore.open(project.root) as store:
        (ticket,) = store.queue(["@seed"])
    with project.start("train", "--until-idle") as process:
        project.sleeper()
        logs = [DAG, "-C", project.root, "logs", "@seed"]
        until(lambda: "begun" in output_of(logs, KEPT), "its output")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    with dagstore.open(project.root) as store:
        assert [waiting.number for waiting in store.tickets()] == [ticket.number]
        assert not store.claims()
    assert not project.statuses()


def test_a_worker_that_is_killed_costs_a_run_that_is_lost_and_nothing_else(project):
    project.begin(project.sleeping_once(), OPEN)
    with dagstore.open(project.root) as store:
        store.queue(["@seed"])
    with project.start("train", "--until-idle", *(project.place.many or ())) as process:
        sleeper = project.sleeper()
        os.kill(ancestor(sleeper, project.place.worker), signal.SIGKILL)
        out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert [run["status"] for run in json.loads(out)["runs"]] == ["ok"]
    assert project.statuses() == {Status.LOST: 1, Status.OK: 1}
    until(lambda: not is_alive(sleeper), "the end of the experiment")
    project.assert_whole()


def test_a_driver_that_is_killed_is_succeeded_and_nothing_is_doubled(project):
    project.begin(project.sleeping_once(), OPEN)
    with dagstore.open(project.root) as store:
        store.queue(["@seed"], repeat=3)
    argv = [sys.executable, "-P", "-c", DRIVER, project.root, project.place.name, str(TTL)]
    with subprocess.Popen(argv, env=project.place.env) as process:
        sleeper = project.sleeper()
        process.kill()
    subprocess.run(argv, env=project.place.env, check=True, timeout=500)
    until(lambda: not is_alive(sleeper), "the end of the experiment")
    with dagstore.open(project.root) as store:
        measured = Counter(run.seed for run in store.runs() if run.status is Status.OK)
        assert sorted(measured.values()) == [1, 1, 1]
    assert project.statuses()[Status.LOST] >= 1
    assert project.statuses().keys() == {Status.LOST, Status.OK}
    project.assert_whole()


# --- what only one of them does ---


def test_a_node_of_ray_that_dies_is_a_worker_lost(tmp_path, ray_cluster):
    project = Project(tmp_path, ray_cluster)
    project.begin(project.sleeping_once(), OPEN)
    ray_cluster.add_node()
    with project.start("run", "@seed") as process:
        raylet = ancestor(project.sleeper(), "raylet/raylet")
        os.kill(raylet, signal.SIGKILL)
        out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert [run["status"] for run in json.loads(out)["runs"]] == ["ok"]
    assert project.statuses() == {Status.LOST: 1, Status.OK: 1}


def test_a_job_of_slurm_ends_by_itself_when_its_driver_is_gone_for_good(tmp_path, slurm_cluster):
    project = Project(tmp_path, slurm_cluster)
    project.begin(project.sleeping_once(), OPEN)
    with dagstore.open(project.root) as store:
        store.queue(["@seed"])
    argv = [sys.executable, "-P", "-c", DRIVER, project.root, "slurm", str(TTL)]
    with subprocess.Popen(argv, env=slurm_cluster.env) as process:
        sleeper = project.sleeper()
        process.kill()
    until(lambda: not is_alive(sleeper), "the end of the experiment")
    until(lambda: not slurm_cluster.states() & {"RUNNING", "PENDING", "COMPLETING"}, "the end of the job")


@pytest.mark.parametrize(("engine", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_without_its_extra_an_engine_says_what_to_install(tmp_path, engine, library):
    project = Project(tmp_path, Local(KEPT))
    project.begin("echo val_bpb: 1\n")
    packages = tmp_path / "packages"
    packages.mkdir()
    installed = Path(find_spec("click").origin).parent.parent
    for path in installed.iterdir():
        if not path.name.startswith((library, "__editable__", "dagstore")):
            (packages / path.name).symlink_to(path)
    source = Path(dagstore.__file__).parent.parent
    words = ["-C", project.root, "run", "@seed", "--engine", engine, "--json"]
    argv = [sys.executable, "-I", "-S", "-c", WITHOUT, packages, source, *words]
    done = subprocess.run(argv, env=KEPT, capture_output=True, text=True, check=False)
    assert done.returncode == 7
    said = json.loads(done.stderr)
    assert library in said["message"]
    assert f"dagstore[{engine}]" in said["hint"]
    with dagstore.open(project.root) as store:
        assert not store.tickets()


@pytest.mark.parametrize("cluster", ["ray_cluster", "slurm_cluster"])
def test_the_process_that_performs_an_order_may_be_killed_alone(tmp_path, request, cluster):
    project = Project(tmp_path, request.getfixturevalue(cluster))
    project.begin(project.sleeping_once(), OPEN)
    with project.start("run", "@seed") as process:
        sleeper = project.sleeper()
        os.kill(ancestor(sleeper, "cli.errand"), signal.SIGKILL)
        out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert [run["status"] for run in json.loads(out)["runs"]] == ["ok"]
    assert project.statuses() == {Status.LOST: 1, Status.OK: 1}
    until(lambda: not is_alive(sleeper), "the end of the experiment")


def test_nodes_of_slurm_need_not_see_the_store(tmp_path, slurm_cluster):
    project = Project(tmp_path, slurm_cluster)
    project.begin("echo val_bpb: 0.5\n")
    shared = tmp_path / "for all nodes"
    shared.mkdir()
    assert project.run("--shared", str(shared))["status"] == "ok"
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize(
    ("cluster", "ask", "said"),
    [("ray_cluster", "teapots=1", "teapots"), ("slurm_cluster", "partition=nowhere", "partition")],
)
def test_what_a_cluster_does_not_have_is_said_and_nothing_stays_in_line(tmp_path, request, cluster, ask, said):
    project = Project(tmp_path, request.getfixturevalue(cluster))
    project.begin("echo val_bpb: 1\n")
    with project.start("run", "@seed", "--ask", ask) as process:
        _, talk = process.communicate(timeout=PATIENCE)
    assert process.returncode == 7
    assert said in json.loads(talk.splitlines()[-1])["message"]
    project.assert_whole()


def test_a_machine_that_submits_to_no_slurm_says_so(tmp_path):
    if find_spec("submitit") is None:
        lacking("submitit", "pip install 'dagstore[slurm]'")
    place = Local({**KEPT, "PATH": str(DAG.parent)})
    place.name = "slurm"
    project = Project(tmp_path, place)
    project.begin("echo val_bpb: 1\n")
    with project.start("run", "@seed") as process:
        _, talk = process.communicate(timeout=PATIENCE)
    assert process.returncode == 7, talk
    assert "squeue is not installed" in json.loads(talk.splitlines()[-1])["message"]
    project.assert_whole()


def test_an_address_at_which_no_ray_answers_is_said_at_once(tmp_path):
    if find_spec("ray") is None:
        lacking("Ray", "pip install 'dagstore[ray]'")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    place = Local({**KEPT, "RAY_ADDRESS": address})
    place.name = "ray"
    project = Project(tmp_path, place)
    project.begin("echo val_bpb: 1\n")
    with project.start("run", "@seed") as process:
        _, talk = process.communicate(timeout=PATIENCE)
    assert process.returncode == 7, talk
    assert "no Ray cluster can be reached" in json.loads(talk.splitlines()[-1])["message"]
    project.assert_whole()
