"""One byte string per object: canonical msgpack, positional arrays, a version number first.

    tree      [1, [[path, mode, blob], …]]                                entries by UTF-8 path
    node      [1, [parent, …], tree]                                      parents ascending, each once
    protocol  [1, command, metric, direction, budget, [[path, mode, blob], …], fingerprint]
              [2, …, evaluate]                                            where there is such a command
    run       [1, node, protocol, platform, status, [[metric, value], …], started, seconds, runner,
               seed|nil, exit_code|nil, reason, [[name, text], …], [[artifact, blob], …]]
              [2, …, ending]                                              where somebody said how it ended
    note      [1, node, author, time, kind, text]
    adoption  [1, node, primary, [adopted, …], [[path, region, engine, [origin, …],
               [[[origin, …], text], …], contradiction], …], author, time]
              [2, …, own, [place, …], [preferred, …], [[gate, path, line, text, [origin, …]], …]]
              where one of these four says something
    resolution  [1, contradiction, node, text, author, time]

Ids are 32-byte binaries; integers take their shortest form; floats are always float64 and never NaN, infinite
or -0.0; maps become arrays of pairs in the order of their UTF-8 keys. The msgpack decoder accepts much that
no encoder writes (long integers, float32, duplicate keys), so bytes from outside count only if
encoding what was decoded gives the same bytes. This is the only module that imports `msgpack`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgpack

from dagstore.errors import BadInput
from dagstore.ids import (
    AdoptionId,
    BlobId,
    ContradictionId,
    Id,
    NodeId,
    NoteId,
    ProtocolId,
    ResolutionId,
    RunId,
    TreeId,
)
from dagstore.model import (
    Adoption,
    Decision,
    Direction,
    Entry,
    GateFinding,
    Mode,
    Node,
    Note,
    Protocol,
    Resolution,
    Run,
    Side,
    Status,
    Tree,
)

VERSION = 1
VERSIONS = (1, 2)
_VERSIONS: dict[type[Id], tuple[int, ...]] = dict.fromkeys((AdoptionId, ProtocolId, RunId), VERSIONS)
MAX_OBJECT_BYTES = 64 << 20

Object = Tree | Node | Protocol | Run | Note | Adoption | Resolution


def pack(value: object) -> bytes:
    """Plain msgpack of plain values; for rows that are local to one store as well."""
    return msgpack.packb(value, use_bin_type=True, strict_types=True)  # type: ignore[no-any-return]


def unpack(data: bytes) -> Any:
    """The plain value; `BadInput` if `data` is not one msgpack value."""
    if len(data) > MAX_OBJECT_BYTES:
        raise BadInput(f"an object of {len(data)} bytes, where {MAX_OBJECT_BYTES} is the limit")
    try:
        return msgpack.unpackb(data, raw=False, use_list=True, strict_map_key=True)
    except (ValueError, msgpack.exceptions.UnpackException, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"not a msgpack value: {error}") from None


def unpack_all(parts: Sequence[bytes]) -> list[Any]:
    """The same of each, at half the cost."""
    if max(map(len, parts), default=0) > MAX_OBJECT_BYTES:
        return [unpack(data) for data in parts]
    try:
        return list(map(msgpack.unpackb, parts))
    except (ValueError, msgpack.exceptions.UnpackException, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"not a msgpack value: {error}") from None


def encode(value: Object) -> bytes:
    """The canonical bytes of an object; its id is the hash of exactly these. `BadInput` on what has no such form."""
    try:
        return pack(_ENCODERS[type(value)](value))
    except (OverflowError, UnicodeEncodeError) as error:
        raise BadInput(f"a {KINDS[type(value)].kind} cannot say this: {error}") from None


def decode(kind: type[Id], data: bytes) -> Object:
    """The object of that kind; `BadInput` unless `data` is exactly what `encode` would have written."""
    fields = unpack(data)
    if not isinstance(fields, list) or not fields:
        raise BadInput(f"not a {kind.kind}: expected an array")
    if fields[0] not in _VERSIONS.get(kind, (VERSION,)):
        raise BadInput(
            f"{kind.kind} of format version {fields[0]!r}, this dagstore reads {_VERSIONS.get(kind, (VERSION,))[-1]}",
            hint="upgrade dagstore",
            code="newer_format",
        )
    try:
        value = _DECODERS[kind](fields[1:])
        again = encode(value)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError) as error:
        raise BadInput(f"not a {kind.kind}: {error}") from None
    if again != data:
        raise BadInput(f"not a canonical {kind.kind}: the same object has other bytes")
    return value


def identify(value: Object) -> Id:
    """The id of an object."""
    return KINDS[type(value)].of(encode(value))


def _number(value: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a number")
    number = float(value)
    if not math.isfinite(number):
        raise BadInput(f"{value!r} is not finite", hint="leave the number out and say so in the status")
    return number + 0.0  # turns -0.0 into 0.0


def _truth(value: bool) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return str(value)


def _raw(value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{value!r} is not a byte string")
    return bytes(value)


def _pairs(mapping: Mapping[str, Any], convert: Callable[[Any], object]) -> list[list[object]]:
    return [[_text(key), convert(mapping[key])] for key in sorted(mapping, key=str.encode)]


def _mapping(pairs: Iterable[list[Any]], convert: Callable[[Any], Any]) -> dict[str, Any]:
    return {_text(key): convert(value) for key, value in pairs}


def _entries(entries: Iterable[Entry]) -> list[list[object]]:
    return [[entry.path, int(entry.mode), bytes(entry.blob)] for entry in entries]


def _id(cls: type[Id]) -> Callable[[bytes], Any]:
    def convert(raw: bytes) -> Id:
        if not isinstance(raw, bytes) or len(raw) != 32:
            raise ValueError(f"not a {cls.kind} id: {raw!r}")
        return cls(raw)

    return convert


_node_id, _tree_id, _blob_id, _protocol_id = _id(NodeId), _id(TreeId), _id(BlobId), _id(ProtocolId)
_contradiction_id = _id(ContradictionId)


def _tree(rows: Iterable[Any]) -> Tree:
    return Tree.of(Entry(path, Mode(mode), _blob_id(blob)) for path, mode, blob in rows)


def _whole(value: int) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _optional(value: int | None) -> int | None:
    return None if value is None else _whole(value)


def _encode_run(run: Run) -> list[object]:
    return [
        2 if run.ending else 1,
        bytes(run.node),
        bytes(run.protocol),
        _text(run.platform),
        run.status.value,
        _pairs(run.metrics, _number),
        _whole(run.started),
        _number(run.seconds),
        _text(run.runner),
        _optional(run.seed),
        _optional(run.exit_code),
        _text(run.reason),
        _pairs(run.environment, _text),
        _pairs(run.artifacts, bytes),
        *([_text(run.ending)] if run.ending else ()),
    ]


def _decode_run(row: list[Any]) -> Run:
    node, protocol, platform, status, metrics, started, seconds, *rest = row
    runner, seed, code, reason, environment, artifacts, *more = rest
    return Run(
        _node_id(node),
        _protocol_id(protocol),
        platform,
        Status(status),
        _mapping(metrics, _number),
        started,
        _number(seconds),
        runner,
        seed,
        code,
        reason,
        _mapping(environment, _text),
        _mapping(artifacts, _blob_id),
        *more,
    )


def _encode_protocol(protocol: Protocol) -> list[object]:
    return [
        2 if protocol.evaluate else 1,
        _text(protocol.command),
        _text(protocol.metric),
        protocol.direction.value,
        _number(protocol.budget),
        _entries(protocol.locked),
        _text(protocol.fingerprint),
        *([_text(protocol.evaluate)] if protocol.evaluate else ()),
    ]


def _decode_protocol(row: list[Any]) -> Protocol:
    command, metric, direction, budget, locked, fingerprint, *more = row
    entries = _tree(locked).entries
    return Protocol(command, metric, Direction(direction), _number(budget), entries, fingerprint, *more)


def _encode_decision(decision: Decision) -> list[object]:
    return [
        _text(decision.path),
        _text(decision.region),
        _text(decision.engine),
        _origins(decision.origins),
        [[_origins(side.origins), _raw(side.text)] for side in decision.sides],
        decision.contradiction,
    ]


def _decode_decision(row: list[Any]) -> Decision:
    path, region, engine, origins, sides, contradiction = row
    return Decision(
        path,
        region,
        engine,
        _nodes(origins),
        tuple(Side(_nodes(wishers), text) for wishers, text in sides),
        _truth(contradiction),
    )


def _origins(nodes: Iterable[NodeId]) -> list[bytes]:
    return [bytes(node) for node in sorted(set(nodes))]


def _nodes(raw: Iterable[bytes]) -> tuple[NodeId, ...]:
    return tuple(_node_id(node) for node in raw)


def _encode_adoption(adoption: Adoption) -> list[object]:
    more = [
        _truth(adoption.own),
        [_text(place) for place in adoption.only],
        [bytes(node) for node in adoption.preference],
        [_encode_finding(finding) for finding in adoption.findings],
    ]
    return [
        2 if any(more) else 1,
        bytes(adoption.node),
        bytes(adoption.primary),
        _origins(adoption.adopted),
        [_encode_decision(decision) for decision in adoption.decisions],
        _text(adoption.author),
        _whole(adoption.time),
        *(more if any(more) else ()),
    ]


def _decode_adoption(row: list[Any]) -> Adoption:
    node, primary, adopted, decisions, author, time, *more = row
    own, only, preference, findings = more or (False, (), (), ())
    return Adoption(
        _node_id(node),
        _node_id(primary),
        _nodes(adopted),
        tuple(_decode_decision(decision) for decision in decisions),
        author,
        time,
        own,
        tuple(only),
        _nodes(preference),
        tuple(_decode_finding(finding) for finding in findings),
    )


def _encode_finding(finding: GateFinding) -> list[object]:
    gate, path, line, text, origins = finding
    return [_text(gate), _text(path), _whole(line), _text(text), _origins(origins)]


def _decode_finding(row: list[Any]) -> GateFinding:
    gate, path, line, text, origins = row
    return GateFinding(gate, path, line, text, _nodes(origins))


def _encode_resolution(it: Resolution) -> list[object]:
    return [VERSION, bytes(it.contradiction), bytes(it.node), _raw(it.text), _text(it.author), _whole(it.time)]


def _decode_resolution(row: list[Any]) -> Resolution:
    contradiction, node, text, author, time = row
    return Resolution(_contradiction_id(contradiction), _node_id(node), text, author, time)


def _encode_note(note: Note) -> list[object]:
    return [VERSION, bytes(note.node), _text(note.author), _whole(note.time), _text(note.kind), _text(note.text)]


def _decode_note(row: list[Any]) -> Note:
    node, author, time, kind, text = row
    return Note(_node_id(node), author, time, kind, text)


def _decode_node(row: list[Any]) -> Node:
    parents, tree = row
    return Node(_nodes(parents), _tree_id(tree))


KINDS: dict[type, type[Id]] = {
    Tree: TreeId,
    Node: NodeId,
    Protocol: ProtocolId,
    Run: RunId,
    Note: NoteId,
    Adoption: AdoptionId,
    Resolution: ResolutionId,
}

_ENCODERS: dict[type, Callable[[Any], list[object]]] = {
    Tree: lambda tree: [VERSION, _entries(tree.entries)],
    Node: lambda node: [VERSION, _origins(node.parents), bytes(node.tree)],
    Protocol: _encode_protocol,
    Run: _encode_run,
    Note: _encode_note,
    Adoption: _encode_adoption,
    Resolution: _encode_resolution,
}

_DECODERS: dict[type[Id], Callable[[list[Any]], Object]] = {
    TreeId: lambda row: _tree(_only(row)),
    NodeId: _decode_node,
    ProtocolId: _decode_protocol,
    RunId: _decode_run,
    NoteId: _decode_note,
    AdoptionId: _decode_adoption,
    ResolutionId: _decode_resolution,
}


def _only(row: list[Any]) -> Any:
    (value,) = row
    return value
