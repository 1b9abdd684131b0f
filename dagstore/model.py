"""The nouns as frozen values: they hold data and know nothing of storage, files or time."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import NamedTuple, Self

from dagstore.ids import BlobId, ContradictionId, Id, NodeId, ProtocolId, TreeId
from dagstore.paths import LOST_PATH, check_distinct, check_path


class Mode(IntEnum):
    """How an entry is materialised; the integer is part of the tree's identity."""

    FILE = 0
    EXECUTABLE = 1
    LINK = 2


class Entry(NamedTuple):
    """One path of a tree. A link's blob holds its target."""

    path: str
    mode: Mode
    blob: BlobId


_PATH = attrgetter("path")


@dataclass(frozen=True)
class Tree:
    """A manifest: entries in the order of their UTF-8 paths, each path once."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """A checked tree; `BadInput` on a path that no tree may hold or that collides with another."""
        # Code points are in the order of their UTF-8 bytes.
        ordered = tuple(sorted(entries, key=_PATH))
        _check_paths(tuple([entry.path for entry in ordered]))
        return cls(ordered)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    @cached_property
    def by_path(self) -> Mapping[str, Entry]:
        return {entry.path: entry for entry in self.entries}

    @property
    def is_lost(self) -> bool:
        """Whether this stands for code that is lost."""
        return len(self.entries) == 1 and self.entries[0].path == LOST_PATH

    def get(self, path: str) -> Entry | None:
        """The entry of one path, found without `by_path`."""
        at = bisect_left(self.entries, path, key=_PATH)
        entry = self.entries[at] if at < len(self.entries) else None
        return entry if entry and entry.path == path else None


@lru_cache(maxsize=16)
def _check_paths(paths: tuple[str, ...]) -> None:
    """`BadInput` unless one tree may hold them all. Most trees have the very paths of the tree before."""
    for path in paths:
        check_path(path)
    check_distinct(paths)


class Change(NamedTuple):
    """One path on which two trees differ: `old` is None where it was added, `new` where it was removed.

    `at` is the position of `old` in its tree; where there is none, the one of the entry that `new` stands before.
    """

    at: int
    old: Entry | None
    new: Entry | None

    @property
    def path(self) -> str:
        entry = self.old or self.new
        assert entry is not None
        return entry.path

    @property
    def of_content(self) -> bool:
        """False for a mere change of mode."""
        return self.old is None or self.new is None or self.old.blob != self.new.blob


EMPTY = Tree(())
_compared: list[tuple[Tree, Tree, tuple[Change, ...]]] = []


def changes(old: Tree, new: Tree) -> tuple[Change, ...]:
    """How one tree becomes another, in the order of the paths.

    Whoever records a tree asks several times for the same ones, so the last few answers are at hand.
    """
    for one, other, known in _compared:
        if one is old and other is new:
            return known
    found = tuple(_changes(old.entries, new.entries))
    _compared[3:] = []
    _compared.insert(0, (old, new, found))
    return found


def _changes(old: tuple[Entry, ...], new: tuple[Entry, ...]) -> Iterable[Change]:
    if len(old) == len(new):
        # As a rule contents differ, and no paths.
        pairs = enumerate(zip(old, new, strict=True))
        found = [Change(at, one, other) for at, (one, other) in pairs if one != other]
        if all(one.path == other.path for _, one, other in found):  # type: ignore[union-attr]
            return found
    return _merged(old, new)


def _merged(old: tuple[Entry, ...], new: tuple[Entry, ...]) -> Iterator[Change]:
    at, to = 0, 0
    while at < len(old) or to < len(new):
        if at == len(old) or (to < len(new) and new[to].path < old[at].path):
            yield Change(at, None, new[to])
            to += 1
        elif to == len(new) or old[at].path != new[to].path:
            yield Change(at, old[at], None)
            at += 1
        else:
            if old[at] != new[to]:
                yield Change(at, old[at], new[to])
            at, to = at + 1, to + 1


class Node(NamedTuple):
    """One experiment: a set of parents (sorted, each once) and a tree."""

    parents: tuple[NodeId, ...]
    tree: TreeId

    @classmethod
    def of(cls, parents: Iterable[NodeId], tree: TreeId) -> Self:
        return cls(tuple(sorted(set(parents))), tree)


class Status(StrEnum):
    """How a run ended."""

    OK = "ok"
    CRASHED = "crashed"
    OOM = "oom"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    PRUNED = "pruned"
    INVALID = "invalid"
    TAMPERED = "tampered"
    LOST = "lost"
    INFRA = "infra"


KNOWN = frozenset({Status.OK, Status.PRUNED})
"""How runs ended after which a node is not run again by accident: it was measured, or was not worth the time."""


class Ended(StrEnum):
    """What ended a run, in more detail than its status. The list only grows; recorded words keep their meaning."""

    FINISHED = "finished"
    EXIT_CODE = "exit-code"
    SIGNAL = "signal"
    HOST_MEMORY = "host-memory"
    DEVICE_MEMORY = "device-memory"
    MEMORY_LIMIT = "memory-limit"
    DISK_LIMIT = "disk-limit"
    PROCESS_LIMIT = "process-limit"
    TIME_LIMIT = "time-limit"
    NOT_FINITE = "not-finite"
    NO_METRIC = "no-metric"
    EVALUATOR_CHANGED = "evaluator-changed"
    EVALUATION_FAILED = "evaluation-failed"
    DISK_FULL = "disk-full"
    DEVICE_LOST = "device-lost"
    STATUS_LOST = "status-lost"
    NOT_STARTED = "not-started"
    NO_SANDBOX = "no-sandbox"
    STOPPED = "stopped"
    PRUNED = "pruned"
    TRAINER_LOST = "trainer-lost"


CONTRADICTED = "contradicted"
"""The status of a node that has no runs and cannot be queued before somebody resolves it."""


class Direction(StrEnum):
    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class Protocol(NamedTuple):
    """What makes runs comparable. `budget` in seconds; `locked` are the locked entries of the tree, by path.

    `evaluate` is the command whose numbers count in place of the experiment's own; empty if those count.
    """

    command: str
    metric: str
    direction: Direction
    budget: float
    locked: tuple[Entry, ...] = ()
    fingerprint: str = ""
    evaluate: str = ""


class Run(NamedTuple):
    """One measurement of a node.

    `metrics` holds finite floats only; a missing metric is absent. `started` is in milliseconds since the
    Unix epoch, `seconds` the wall clock of the experiment. `artifacts` names blobs: `log`, `steps`, `curve`,
    `evaluation`.
    `ending` is one of the words of `Ended`, or one that a later release knows; empty where nobody said.
    """

    node: NodeId
    protocol: ProtocolId
    platform: str
    status: Status
    metrics: Mapping[str, float]
    started: int
    seconds: float
    runner: str
    seed: int | None = None
    exit_code: int | None = None
    reason: str = ""
    environment: Mapping[str, str] = {}
    artifacts: Mapping[str, BlobId] = {}
    ending: str = ""


class Note(NamedTuple):
    """Who said what about a node. `kind` is `hypothesis`, `remark` or `verdict`; `time` in ms since the epoch."""

    node: NodeId
    author: str
    time: int
    kind: str
    text: str


NAMES = "alias"
"""The kind of a note that says what its node is called elsewhere, see `aliases`."""


class Side(NamedTuple):
    """What some parents wanted in a contested region: the bytes they would have put there.

    A store keeps no bytes for a whole file (region `*`); the trees of the origins hold it.
    """

    origins: tuple[NodeId, ...]
    text: bytes


class Decision(NamedTuple):
    """How one region of an adoption was decided.

    `path` is where the file is in the result, or was. `region` is `*` (the whole file), `name of <path>` (what the file
    is called that the primary has there), the name of a syntactic unit or `L<first>-<last>` (lines of the primary's
    file).
    `engine` is the rung of the ladder that decided, `already` where a donor had nothing to bring, or `open` where
    nobody has decided a contradiction yet. `origins` are the nodes whose wish was taken; `sides` holds every wish,
    including those not taken, and is empty unless the region was contested.
    """

    path: str
    region: str
    engine: str
    origins: tuple[NodeId, ...]
    sides: tuple[Side, ...] = ()
    contradiction: bool = False


OPEN = "open"
"""The engine of a contradiction that was left for somebody to resolve; the tree has the preferred side meanwhile."""


RESOLUTION = "resolution"
"""The engine of a contradiction that was resolved before; its origin is the node in which it was."""


class GateFinding(NamedTuple):
    """What a gate found in an adopted node: `text` says what, `line` is one of the composed file, 0 for none.

    `gate` is `parses`, `undefined`, `duplicate`, `uses`, `lost` or `locked`. `origins` are the nodes whose change was
    lost, or is used by what another one wrote.
    """

    gate: str
    path: str
    line: int
    text: str
    origins: tuple[NodeId, ...] = ()


class Adoption(NamedTuple):
    """How an adopted node was composed. Provenance only: the node's tree is authoritative.

    Of each donor was taken its whole line since it parted from the primary, or with `own` its own diff alone; of that
    what lies in one of the places of `only` (`PATH`, `PATH:REGION`), if there are any. Where they disagreed they were
    heard in the order of `preference`, which is empty if they did not.
    """

    node: NodeId
    primary: NodeId
    adopted: tuple[NodeId, ...]
    decisions: tuple[Decision, ...]
    author: str
    time: int
    own: bool = False
    only: tuple[str, ...] = ()
    preference: tuple[NodeId, ...] = ()
    findings: tuple[GateFinding, ...] = ()

    @property
    def open(self) -> tuple[Decision, ...]:
        """The contradictions that nobody decided."""
        return tuple(one for one in self.decisions if one.engine == OPEN)


class Resolution(NamedTuple):
    """What `node` has in place of a contradiction that was left open: `text`, without the indentation of its lines."""

    contradiction: ContradictionId
    node: NodeId
    text: bytes
    author: str
    time: int


def names_of(value: object) -> tuple[Id, ...]:
    """The ids of the objects that an object cannot be without."""
    match value:
        case Tree():
            return tuple(entry.blob for entry in value)
        case Node():
            return (*value.parents, value.tree)
        case Run():
            return (value.node, value.protocol, *value.artifacts.values())
        case Note() | Resolution():
            return (value.node,)
        case Adoption():
            return (value.node, value.primary, *value.adopted)
    return ()  # a protocol describes its locked files; the store need not hold them
