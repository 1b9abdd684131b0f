"""The answers of a store as plain frozen values, with field names that the JSON of the command line keeps."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dagstore.ids import AdoptionId, Id, NodeId, NoteId, ProtocolId, RunId, TreeId
from dagstore.model import Decision, Direction, Status
from dagstore.rank import Noise

if TYPE_CHECKING:
    import pandas

    from dagstore.charter import Charter
    from dagstore.claims import Claim

T = TypeVar("T")


def plain(value: Any) -> Any:  # noqa: PLR0911  one line a type
    """The same value made of dicts, lists, texts and numbers, as JSON wants it."""
    if isinstance(value, Id):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value


class Rows(tuple[T, ...], Generic[T]):
    """A sequence of records that also shows itself as a table in a notebook."""

    __slots__ = ()

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row a record and one column a field; mappings become `field.key` columns."""
        import pandas

        return pandas.DataFrame([_flat(plain(row)) for row in self])

    def _repr_html_(self) -> str:
        return _table([_flat(plain(row)) for row in self])


class Shown:
    """Shows a record as a two-column table in a notebook."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        flat = _flat(plain(self))
        return _table([{"field": name, "value": value} for name, value in flat.items()])


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


@dataclass(frozen=True, slots=True)
class NodeView(Shown):
    """A node with what is known of it. `message`, `agent` and `time` are those of its first note.

    `runs` counts measurements of its tree, `status` is that of the last one (`new` without any). `estimate`, `low` and
    `high` are of the default ranking; None where there is nothing to compare.
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
class FrontierRow(Shown):
    rank: int
    id: NodeId
    short: str
    estimate: float
    low: float | None
    high: float | None
    runs: int
    message: str
    agent: str
    generation: int
    primary: NodeId | None
    adopted: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Frontier:
    """A ranking within one protocol and platform. `outside` counts measured runs that it could not compare."""

    metric: str
    direction: Direction
    protocol: ProtocolId | None
    platform: str | None
    noise: Noise
    strategy: str
    outside: int
    nodes: Rows[FrontierRow]

    def to_frame(self) -> "pandas.DataFrame":
        return self.nodes.to_frame()

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(self.metric)} ({self.direction.value}) on {escape(str(self.platform))}</p>" + (
            self.nodes._repr_html_()
        )


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
    """A composed node. `onto` is what it was composed onto; unless `recorded`, the node is only foreseen."""

    node: NodeId
    short: str
    primary: NodeId | None
    adopted: tuple[NodeId, ...]
    onto: NodeId
    known: bool
    recorded: bool
    decisions: tuple[Decision, ...]
    contradictions: int
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


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": item for key, item in value.items()})
        else:
            flat[name] = value
    return flat


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    from html import escape

    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{_body(rows, names, _cell)}</tbody></table>"


def _body(rows: Iterable[Mapping[str, Any]], names: list[str], cell: Callable[[Any], str]) -> str:
    return "".join("<tr>" + "".join(f"<td>{cell(row.get(name))}</td>" for name in names) + "</tr>" for row in rows)


def _cell(value: Any) -> str:
    from html import escape

    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= 200 else text[:199] + "…")
