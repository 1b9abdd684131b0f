"""Clusters to test engines with: real ones, on the loopback interface, in folders of their own."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

BIN = Path(sys.executable).parent
PATIENCE = 120
T = TypeVar("T")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], T], what: str) -> T:
    """What the condition gives as soon as that is true."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


def output_of(argv: Sequence[str | Path], env: Mapping[str, str]) -> str:
    """What a command says, however it ends."""
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False).stdout


class Local:
    """This machine. `worker` is in the command line of what runs an experiment, `many` asks for several at a time."""

    name = "local"
    worker = "cli.slot"
    many: tuple[str, ...] = ("--slots", "2")

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)


class Ray:
    """A head without CPUs and nodes of one each, every one with processes of its own."""

    name = "ray"
    worker = "ray::"
    many: tuple[str, ...] = ()

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._folder = folder
        self.env = {**env, "RAY_USAGE_STATS_ENABLED": "0"}
        self._port = free_port()
        self.env["RAY_ADDRESS"] = f"127.0.0.1:{self._port}"
        self._groups: list[subprocess.Popen[bytes]] = []

    def begin(self) -> None:
        place = ("--temp-dir", self._folder, "--include-dashboard=false")
        self._start("--head", "--port", self._port, "--num-cpus=0", *place)
        for _ in range(2):
            self.add_node()

    def add_node(self) -> None:
        """One more node, there when this returns."""
        self._start("--address", self.env["RAY_ADDRESS"], "--num-cpus=1")

    def _start(self, *words: object) -> None:
        fixed = ("--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats", "--block")
        argv = [str(BIN / "ray"), "start", *map(str, words), *fixed]
        env = {name: value for name, value in self.env.items() if name != "RAY_ADDRESS"}
        there = self._alive() if self._groups else 0
        with (self._folder / "start.log").open("ab") as log:
            self._groups.append(subprocess.Popen(argv, env=env, stdout=log, stderr=log, start_new_session=True))
        until(lambda: self._alive() > there, "a Ray node")

    def _alive(self) -> int:
        """How many nodes the cluster knows to be alive."""
        asks = "import ray; ray.init(address='auto', log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
        done = subprocess.run(
            [sys.executable, "-P", "-c", asks], env=self.env, capture_output=True, text=True, check=False
        )
        return int(done.stdout) if done.returncode == 0 else 0

    def end(self) -> None:
        for group in reversed(self._groups):
            group.terminate()
        for group in reversed(self._groups):
            try:
                group.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(group.pid, signal.SIGKILL)
                group.wait()


SLURM = """ClusterName=engines
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
KillWait=2
SlurmdTimeout=20
"""


class Slurm:
    """A controller and two nodes of one CPU each, without accounting."""

    name = "slurm"
    worker = "submitit.core._submit"
    many: tuple[str, ...] = ()

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.env = {**env, "SLURM_CONF": str(folder / "slurm.conf")}

    def begin(self) -> None:
        self._configure()
        key, seed = self._folder / "munge.key", self._folder / "munge.seed"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        socket_, log, pid = (self._folder / f"munge.{name}" for name in ("socket", "log", "pid"))
        files = (f"--key-file={key}", f"--socket={socket_}", f"--log-file={log}", f"--pid-file={pid}")
        self._start("munged", "--foreground", "--force", *files, f"--seed-file={seed}")
        until(socket_.exists, "munge")
        self._start("slurmctld", "-D", "-i")
        for node in ("node1", "node2"):
            self._start("slurmd", "-D", "-N", node)
        until(lambda: self._ask("sinfo", "--noheader", "--format=%T %D") == "idle 2", "the nodes of Slurm")

    def _configure(self) -> None:
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=False).stdout.strip()
        text = SLURM.format(user=user, folder=self._folder, port=free_port())
        for node in ("node1", "node2"):
            text += (
                f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={free_port()} CPUs=1\n"
            )
        text += "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        (self._folder / "slurm.conf").write_text(text)
        (self._folder / "state").mkdir()

    def _start(self, *argv: str) -> None:
        path = f"{self.env.get('PATH', '')}:/usr/sbin:/sbin"
        program = shutil.which(argv[0], path=path) or argv[0]
        with (self._folder / "start.log").open("ab") as log:
            self._processes.append(subprocess.Popen([program, *argv[1:]], env=self.env, stdout=log, stderr=log))

    def _ask(self, *argv: str) -> str:
        return output_of(argv, self.env).strip()

    def states(self) -> set[str]:
        """The states of all jobs that Slurm remembers."""
        return set(self._ask("squeue", "--noheader", "--states=all", "--format=%T").split())

    def end(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


C = TypeVar("C", Ray, Slurm)


@contextmanager
def running(kind: type[C], env: Mapping[str, str]) -> Iterator[C]:
    """A cluster of that kind meanwhile, for commands with the variables `env`."""
    # Short, since the path of a Unix socket has 107 bytes, and readable for the daemons.
    folder = Path(tempfile.mkdtemp(prefix="dag-", dir="/tmp"))
    folder.chmod(0o755)
    cluster = kind(env, folder)
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)
