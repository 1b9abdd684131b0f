"""fsck: proves that a store says what its ids promise, and rebuilds what is derived.

quick  meta data, and that sequence numbers are dense and known by id
links  also that everything an object names is there, and stored before it
full   also that every object decodes, is canonical and hashes to its id, and that the indexes are what they would be
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from dagstore.codec import decode
from dagstore.errors import BadInput, DagError, Damaged
from dagstore.ids import BlobId, Id, NodeId
from dagstore.index import DERIVED, add
from dagstore.model import Adoption, Node, Note, Protocol, Run, Tree
from dagstore.objects import DELTA, ZSTD, Envelope, Objects, every, find, open_envelope
from dagstore.storage import Reader, Writer
from dagstore.storage_memory import MemoryStorage

DEPTHS = ("quick", "links", "full")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `what` names an object (kind and id) or a table."""

    code: str
    what: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    depth: str
    objects: int
    nodes: int
    runs: int
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        return not self.findings


def check(txn: Reader, objects: Objects, depth: str = "quick", progress: Progress | None = None) -> Report:
    """Everything found wrong within `depth`; `progress` is called with objects done and in all."""
    if depth not in DEPTHS:
        raise BadInput(f"no depth {depth!r}", hint="there are: " + ", ".join(DEPTHS))
    counts = {"node": 0, "run": 0}
    total = txn.count("obj")
    findings = list(_check_counts(txn))
    for done, (seq, envelope) in enumerate(_readable(txn, findings), start=1):
        counts[envelope.kind.kind] = counts.get(envelope.kind.kind, 0) + 1
        findings += _check_object(txn, objects, seq, envelope, depth)
        if progress and done % 512 == 0:
            progress(done, total)
    if depth == "full" and not findings:
        findings += _check_indexes(txn, objects)
    if progress:
        progress(total, total)
    return Report(depth, total, counts["node"], counts["run"], tuple(findings))


def reindex(txn: Writer, objects: Objects, progress: Progress | None = None) -> int:
    """Delete every derived table and build it again from the objects; how many objects were read."""
    for table in DERIVED:
        for key in [key for key, _ in txn.scan(table)]:
            txn.delete(table, key)
    total = txn.count("obj")
    for done, (seq, envelope) in enumerate(every(txn), start=1):
        if envelope.kind is not BlobId:
            add(txn, objects, seq, objects.load(txn, seq))
        if progress and done % 512 == 0:
            progress(done, total)
    return total


def _readable(txn: Reader, findings: list[Finding]) -> Iterator[tuple[int, Envelope]]:
    for key, row in txn.scan("obj"):
        seq = int.from_bytes(key, "big")
        try:
            envelope = open_envelope(row, seq)
        except Damaged as error:
            findings.append(Finding("unreadable", "obj", error.message))
            continue
        yield seq, envelope


def _check_counts(txn: Reader) -> Iterator[Finding]:
    seed = txn.get("meta", b"seed")
    if seed is None or not find(txn, NodeId(seed)):
        yield Finding("no_seed", "meta", "the store names no seed node, or one that it does not have")
    objects, ids = txn.count("obj"), txn.count("id")
    if objects != ids:
        yield Finding("count", "id", f"{objects} objects but {ids} ids")
    last = next((int.from_bytes(key, "big") for key, _ in txn.scan("obj", reverse=True)), 0)
    if last != objects:
        yield Finding("gap", "obj", f"{objects} objects but the last number is {last}")


def _check_object(txn: Reader, objects: Objects, seq: int, envelope: Envelope, depth: str) -> Iterator[Finding]:
    name = f"{envelope.kind.kind} {envelope.id}"
    if find(txn, envelope.id) != seq:
        yield Finding("id", name, f"object number {seq} is not found by its id")
    if depth == "quick" or (depth == "links" and envelope.kind is BlobId):
        return
    try:
        data = objects.get(txn, seq)
        value = decode(envelope.kind, data) if envelope.kind is not BlobId else None
    except DagError as error:
        yield Finding("damaged", name, error.message)
        return
    if depth == "full" and not _states_right(txn, objects, seq, envelope, data):
        yield Finding("envelope", name, f"object number {seq} states another size or chain than it has")
    for other in _named_by(value):
        at = find(txn, other)
        if not 0 < at < seq:
            yield Finding("missing" if not at else "order", name, f"names {other.kind} {other}")


def _states_right(txn: Reader, objects: Objects, seq: int, envelope: Envelope, data: bytes) -> bool:
    """Whether the numbers in an envelope are those of what it holds."""
    chain, depth = len(envelope.payload) if envelope.codec in (ZSTD, DELTA) else len(data), 0
    if envelope.codec == DELTA:
        under = objects.envelope(txn, envelope.base)
        chain, depth = chain + (under.chain if under.base else 0), under.depth + 1
    in_order = 0 < envelope.base < seq if envelope.codec == DELTA else envelope.base == 0
    return in_order and (envelope.size, envelope.chain, envelope.depth) == (len(data), chain, depth)


def _named_by(value: object) -> Iterator[Id]:
    """Ids that an object cannot be without."""
    if isinstance(value, Tree):
        yield from (entry.blob for entry in value)
    elif isinstance(value, Node):
        yield from (*value.parents, value.tree)
    elif isinstance(value, Run):
        yield from (value.node, value.protocol, *value.artifacts.values())
    elif isinstance(value, Note):
        yield value.node
    elif isinstance(value, Adoption):
        yield from (value.node, value.primary, *value.adopted)
    elif isinstance(value, Protocol):
        return  # its locked files are described by id; the store need not hold them


def _check_indexes(txn: Reader, objects: Objects) -> Iterator[Finding]:
    """Compare the derived tables with ones built afresh."""
    with MemoryStorage().write() as fresh:
        overlay = _Overlay(txn, fresh)
        for seq, envelope in every(txn):
            if envelope.kind is not BlobId:
                add(overlay, objects, seq, objects.load(txn, seq))
        for table in DERIVED:
            pairs = zip_longest(txn.scan(table), fresh.scan(table))
            wrong = next((one or other for one, other in pairs if one != other), None)
            if wrong is not None:
                yield Finding("index", table, f"differs from the objects at key {wrong[0].hex()}")


class _Overlay:
    """Objects from one transaction, derived tables from another."""

    def __init__(self, below: Reader, above: Writer) -> None:
        self._below = below
        self._above = above

    def get(self, table: str, key: bytes) -> bytes | None:
        return (self._above if table in DERIVED else self._below).get(table, key)

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return (self._above if table in DERIVED else self._below).scan(table, low, high, reverse=reverse)

    def count(self, table: str) -> int:
        return (self._above if table in DERIVED else self._below).count(table)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._above.put(table, key, value)

    def append(self, table: str, key: bytes, value: bytes) -> None:
        self._above.append(table, key, value)

    def delete(self, table: str, key: bytes) -> bool:
        return self._above.delete(table, key)
