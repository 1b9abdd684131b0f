"""Small projects and stores to test with, under a clock and a source of chance that the test holds."""

from collections.abc import Mapping
from pathlib import Path
from random import Random

from dagstore.base import Ref
from dagstore.charter import make_protocol
from dagstore.ids import NodeId, ProtocolId
from dagstore.model import Protocol, Run, Status, Tree
from dagstore.paths import CHARTER_PATH
from dagstore.store import Store, init_store, open_store
from dagstore.views import RunView

START = 1_700_000_000.0
"""Seconds since the epoch, well before any file that a test writes."""

TRAIN = """\
LR = 0.1
WIDTH = 64
DEPTH = 4

print("val_loss: 1.0")
"""
CHARTER = """\
command = "python train.py"
metric = "val_loss"
direction = "{direction}"
budget = "10s"
grace = "5s"
editable = ["train.py"]
locked = ["prepare.py"]
"""
FILES: Mapping[str, str | bytes] = {"train.py": TRAIN, "prepare.py": "DATA = 1\n", "README.md": "# a question\n"}


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Entropy:
    """Chance that is the same in every test run."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)

    def __call__(self, size: int) -> bytes:
        return self._random.randbytes(size)


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write texts and bytes by relative path, making folders as needed."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def make_project(path: Path, files: Mapping[str, str | bytes] | None = None, *, direction: str = "minimize") -> Path:
    """A directory with a charter and the given files, `FILES` by default."""
    path.mkdir(parents=True, exist_ok=True)
    write_files(path, {CHARTER_PATH: CHARTER.format(direction=direction), **(FILES if files is None else files)})
    return path


def make_store(
    path: Path,
    files: Mapping[str, str | bytes] | None = None,
    *,
    direction: str = "minimize",
    clock: FakeClock | None = None,
    seed: int = 0,
) -> Store:
    """An open store with its seed node, in `path`/project."""
    clock, entropy = clock or FakeClock(), Entropy(seed)
    project = make_project(path / "project", files, direction=direction)
    init_store(project, agent="tester", clock=clock, entropy=entropy)
    return open_store(project, clock=clock, entropy=entropy)


def make_child(
    store: Store, parent: Ref, files: Mapping[str, str | bytes], *, why: str = "", agent: str = "tester"
) -> NodeId:
    """The node that a workspace of `parent` becomes with these files written over its own."""
    workspace = Path(store.spawn(parent, agent=agent).workspace)
    write_files(workspace, files)
    return store.seal(workspace, why=why).node


def protocol_of(store: Store, ref: Ref, fingerprint: str = "") -> Protocol:
    """The protocol under which a trainer would measure the node."""
    return make_protocol(store.charter(ref), Tree(store.files(ref)), fingerprint)


def make_run(
    store: Store,
    ref: Ref,
    value: float | None,
    status: Status = Status.OK,
    *,
    platform: str = "cpu",
    seed: int = 0,
    metrics: Mapping[str, float] | None = None,
    fingerprint: str = "",
) -> tuple[Run, Protocol]:
    """A run of the node that nobody recorded yet; `value` is of the charter's metric, None for no such number."""
    protocol = protocol_of(store, ref, fingerprint)
    found = {**(metrics or {}), **({} if value is None else {protocol.metric: value})}
    run = Run(
        node=store.resolve(ref),
        protocol=ProtocolId(bytes(32)),  # the store enters the id of the protocol that it is given
        platform=platform,
        status=status,
        metrics=found,
        started=int(START * 1000),
        seconds=1.5,
        runner="tester",
        seed=seed,
        exit_code=0 if status is Status.OK else 1,
    )
    return run, protocol


def measure(
    store: Store,
    ref: Ref,
    value: float | None,
    status: Status = Status.OK,
    *,
    platform: str = "cpu",
    seed: int = 0,
    metrics: Mapping[str, float] | None = None,
    fingerprint: str = "",
    log: bytes | None = None,
) -> RunView:
    """Record a run of the node; runs that differ in nothing are one run, so repeats need another `seed`."""
    run, protocol = make_run(
        store, ref, value, status, platform=platform, seed=seed, metrics=metrics, fingerprint=fingerprint
    )
    return store.add_run(run, protocol, {} if log is None else {"log": log})
