"""The answers of a store as plain frozen values, with field names that the JSON of the command line keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagstore.frontier import Frontier, FrontierRow
from dagstore.ids import AdoptionId, NodeId, NoteId, ProtocolId, RunId, TreeId
from dagstore.model import Decision, GateFinding, Status
from dagstore.shown import Rows, Shown, plain

if TYPE_CHECKING:
    from dagstore.charter import Charter
    from dagstore.claims import Claim

__all__ = [
    "Adopted",
    "AdoptionView",
    "Diff",
    "DiffStat",
    "FileDiff",
    "Frontier",
    "FrontierRow",
    "Initialised",
    "NodeView",
    "NoteView",
    "Rows",
    "RunView",
    "Sealed",
    "Shown",
    "Spawned",
    "plain",
]


@dataclass(frozen=True, slots=True)
class RunView(Shown):
    """One measurement. `value` is the protocol's metric, None if the run did not yield it."""

    id: RunId
    node: NodeId
    status: Status
    value: float | None
    metrics: Mapping[str, float]
    seconds: float
    platform: str
    protocol: ProtocolId
    metric: str
    seed: int | None
    runner: str
    started: int
    exit_code: int | None
    reason: str
    environment: Mapping[str, str]
    artifacts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NoteView(Shown):
    id: NoteId
    node: NodeId
    author: str
    time: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class AdoptionView(Shown):
    id: AdoptionId
    node: NodeId
    onto: NodeId
    adopted: tuple[NodeId, ...]
    decisions: tuple[Decision, ...]
    author: str
    time: int
    own: bool
    only: tuple[str, ...]
    preference: tuple[NodeId, ...]
    findings: tuple[GateFinding, ...]


@dataclass(frozen=True, slots=True)
class NodeView(Shown):
    """A node with what is known of it. `message`, `agent` and `time` are those of its first note.

    `runs` counts measurements of its tree, `status` is that of the last one; without any it is `new`, or `contradicted`
    where contradictions of an adoption are open. `estimate`, `low` and `high` are of the default ranking; None where
    there is nothing to compare.
    """

    id: NodeId
    short: str
    primary: NodeId | None
    adopted: tuple[NodeId, ...]
    generation: int
    tree: TreeId
    message: str
    agent: str
    time: int
    runs: int
    status: str
    estimate: float | None
    low: float | None
    high: float | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileDiff:
    """How one path differs. `change` is `added`, `deleted`, `modified` or `mode`; `text` is a unified diff."""

    path: str
    change: str
    insertions: int
    deletions: int
    text: str


@dataclass(frozen=True, slots=True)
class Diff:
    """All differences from `old` to `new`; paths in order."""

    old: NodeId | None
    new: NodeId
    files: Rows[FileDiff]

    @property
    def insertions(self) -> int:
        return sum(file.insertions for file in self.files)

    @property
    def deletions(self) -> int:
        return sum(file.deletions for file in self.files)

    def __str__(self) -> str:
        return "".join(file.text for file in self.files)


@dataclass(frozen=True, slots=True)
class DiffStat:
    files: int
    insertions: int
    deletions: int


@dataclass(frozen=True, slots=True)
class Sealed(Shown):
    """A recorded node; `known` when the store had it before, `runs` what was measured of it then."""

    node: NodeId
    short: str
    primary: NodeId | None
    adopted: tuple[NodeId, ...]
    known: bool
    runs: Rows[RunView]
    diff: DiffStat


@dataclass(frozen=True, slots=True)
class Adopted(Shown):
    """A composed node. `onto` is what it was composed onto; unless `recorded`, the node is only foreseen.

    `open` says that contradictions were left to be resolved, `findings` what the gates found.
    """

    node: NodeId
    short: str
    primary: NodeId | None
    adopted: tuple[NodeId, ...]
    onto: NodeId
    known: bool
    recorded: bool
    decisions: tuple[Decision, ...]
    contradictions: tuple[Decision, ...]
    open: bool
    findings: tuple[GateFinding, ...]
    runs: Rows[RunView]
    diff: DiffStat


@dataclass(frozen=True, slots=True)
class Spawned(Shown):
    workspace: str
    primary: NodeId
    claim: "Claim"


@dataclass(frozen=True, slots=True)
class Initialised(Shown):
    node: NodeId
    store: str
    charter: "Charter"
    guessed: tuple[str, ...]
    files: int
