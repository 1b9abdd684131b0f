"""The answers of a store as plain frozen values, with field names that the JSON of the command line keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagstore.aliases import Alias
from dagstore.frontier import Frontier, FrontierRow
from dagstore.gains import Gain, Place, Verdict
from dagstore.ids import AdoptionId, NodeId, NoteId, ProtocolId, RunId, TreeId
from dagstore.model import Decision, Direction, GateFinding, Status
from dagstore.rank import Noise
from dagstore.shown import Rows, Shown, plain, table

if TYPE_CHECKING:
    import pandas

    from dagstore.charter import Charter
    from dagstore.claims import Claim

__all__ = [
    "Adopted",
    "AdoptionView",
    "Alias",
    "Aliases",
    "Blame",
    "BlameLine",
    "Compatible",
    "CurveView",
    "Diff",
    "DiffStat",
    "DonorView",
    "FileDiff",
    "Frontier",
    "FrontierRow",
    "Gain",
    "Initialised",
    "NodeView",
    "NoteView",
    "Pair",
    "Place",
    "Rows",
    "RunView",
    "Sealed",
    "Shown",
    "Spawned",
    "Verdict",
    "Why",
    "plain",
]


@dataclass(frozen=True, slots=True)
class RunView(Shown):
    """One measurement. `value` is the protocol's metric, None if the run did not yield it.

    `started` and `seconds` are 0 where nobody knows. Runs in equal environments have equal `environment_id`s.
    `ending` says in one word what ended it; empty where nobody said.
    """

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
    environment_id: str
    artifacts: Mapping[str, Any]
    ending: str


@dataclass(frozen=True, slots=True)
class CurveView(Shown):
    """A step metric of one run over its budget, as its trainer saw it.

    `points` are pairs of a fraction of the budget and a value, `end` is the fraction at which the run ended, more than
    1 with grace. `value` is that of its `RunView`.
    """

    run: RunId
    node: NodeId
    short: str
    status: Status
    value: float | None
    seconds: float
    metric: str
    end: float
    points: tuple[tuple[float, float], ...]


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
class Aliases(Shown):
    """How many names a node has elsewhere, and the first of them."""

    count: int
    first: Rows[Alias]


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
    """All differences from `old` to `new`; paths in order. None are known where the code of one of them is `lost`."""

    old: NodeId | None
    new: NodeId
    files: Rows[FileDiff]
    lost: tuple[NodeId, ...] = ()

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
class BlameLine:
    """A line of a file and the node that brought it; `agent`, `time` and `message` (a line) are of its first note.

    `text` is without its line feed, and what is not UTF-8 in it is replaced. `origins` are the donors whose words the
    node put together in a line that none of its parents has.
    """

    number: int
    node: NodeId
    short: str
    agent: str
    time: int
    message: str
    text: str
    origins: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Blame(Shown):
    """Who brought the lines of a file of a node, in their order."""

    node: NodeId
    path: str
    lines: Rows[BlameLine]


@dataclass(frozen=True, slots=True)
class Sealed(Shown):
    """A recorded node; `known` when the store had it before, `runs` what was measured of it then.

    `resolved` names the places (`PATH: REGION`) where it decided what its parent had left open.
    """

    node: NodeId
    short: str
    primary: NodeId | None
    adopted: tuple[NodeId, ...]
    known: bool
    runs: Rows[RunView]
    resolved: tuple[str, ...]
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
class Pair(Shown):
    """Two nodes, and how many contradictions there are between them; `places` are `path: region`, in order."""

    a: NodeId
    b: NodeId
    contradictions: int
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compatible:
    """Which of several nodes can be adopted together without a contradiction.

    `nodes` are compared with each other, composed onto `onto`, which is one of them; better measured ones come first.
    Those in `covered` are not: each is an ancestor of one of them and brings nothing more. `pairs` has every two of
    `nodes`, in their order.

    `subset` is the largest set that is free of contradictions, best measured first, and `next` the command that adopts
    it, if there is anything to adopt. It is `verified`: all of it was composed together, as that command would. It is
    `exact` if no larger set was overlooked, given that nodes that contradict each other do so whoever else is there. Of
    sets of one size it is the one with the better measured nodes.
    """

    onto: NodeId
    nodes: tuple[NodeId, ...]
    pairs: Rows[Pair]
    subset: tuple[NodeId, ...]
    exact: bool
    verified: bool
    covered: tuple[NodeId, ...]
    next: str

    def matrix(self) -> "pandas.DataFrame":
        """How many contradictions there are between any two of `nodes`, in their order; none of a node with itself."""
        import pandas

        counts = self.counts()
        ids = [str(node) for node in self.nodes]
        return pandas.DataFrame(
            [[counts.get((a, b), 0) for b in self.nodes] for a in self.nodes], index=ids, columns=ids
        )

    def counts(self) -> dict[tuple[NodeId, NodeId], int]:
        """The same by pair, in both directions."""
        there = {(pair.a, pair.b): pair.contradictions for pair in self.pairs}
        return there | {(b, a): count for (a, b), count in there.items()}

    def _repr_html_(self) -> str:
        from html import escape

        counts = self.counts()
        rows = [
            {"": str(a)[:8], **{str(b)[:8]: "" if a == b else counts[a, b] or "·" for b in self.nodes}}
            for a in self.nodes
        ]
        return table(rows) + f"<p>{escape(self.next)}</p>"


@dataclass(frozen=True, slots=True)
class DonorView(Shown):
    """What one adopted parent is to a node.

    `gain` is over `base`, where its line left the primary's. `taken` and `refused` count the decisions of the adoption
    for and against its wishes; None where there is no record of them, and `taken` also for the one composed onto. It
    `brings` something if the node has any of it that the primary has not; only then is its gain to be expected.
    `without` is a node with the files that are left without it, `contribution` what the node gains over that one.
    `next` is the command that would tell more, if any.
    """

    node: NodeId
    short: str
    message: str
    base: NodeId | None
    gain: Gain | None
    brings: bool
    taken: int | None
    refused: int | None
    without: NodeId | None
    contribution: Gain | None
    verdict: Place
    next: str


@dataclass(frozen=True, slots=True)
class Why(Shown):
    """Why a node is as good as it is; every gain is within one protocol and platform.

    `measured` is the gain over the primary, `expected` the sum of the known gains of the donors that bring something;
    a stretch that donors share, up to one of the nodes in `shared`, counts once. `difference` is what was measured
    less what was expected, None while any of those gains is unknown. `onto` is what the node was composed onto,
    `reproduced` whether adopting its parents gives its files again. `missing` are nodes whose runs the answer lacks,
    ancestors first, `elsewhere` those of them that belong to another protocol. `next` is the command that would tell
    more, if any.
    """

    node: NodeId
    short: str
    primary: NodeId | None
    onto: NodeId | None
    metric: str
    direction: Direction
    protocol: ProtocolId | None
    platform: str | None
    noise: Noise
    expected: Gain | None
    measured: Gain | None
    difference: Gain | None
    verdict: Verdict
    donors: Rows[DonorView]
    shared: tuple[NodeId, ...]
    contradictions: int
    reproduced: bool | None
    missing: tuple[NodeId, ...]
    elsewhere: tuple[NodeId, ...]
    next: str


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
