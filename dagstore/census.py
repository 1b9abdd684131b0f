"""Who measured what: runs counted by (protocol, platform), and by the environment that they ran in.

Rows of the table `census`, all derived from runs in sequence order; a protocol is named by its record:

    p <protocol:4> <platform>           -> [runs, ranked, nodes, first, last]
    e <protocol:4> <id:4> <platform>    -> [runs, record of the first of them]

`ranked` are the runs that a ranking counts, `nodes` how many trees they are of; `first` and `last` are when the first
and the last began, in ms since the epoch, 0 where no run knows.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dagstore.codec import pack, unpack
from dagstore.ids import BlobId
from dagstore.model import Run
from dagstore.storage import Reader, Writer, after

_ID = 4


class Count(NamedTuple):
    """What was counted of one protocol on one platform."""

    protocol: int
    platform: str
    runs: int = 0
    ranked: int = 0
    nodes: int = 0
    first: int = 0
    last: int = 0


class Seen(NamedTuple):
    """An environment, how many runs had it, and the record of the first."""

    id: str
    runs: int
    record: int


def environment_id(environment: Mapping[str, str]) -> str:
    """8 hex digits that are equal for equal environments; empty where nothing is known of one."""
    facts = [[name, environment[name]] for name in sorted(environment)]
    return BlobId.of(pack(facts))[:_ID].hex() if facts else ""


def count_run(txn: Writer, record: int, run: Run, protocol: int, ranked: int) -> None:
    """Count a run; `ranked` says how many of its tree a ranking now counts, 0 if it does not count this one."""
    key = b"p" + protocol.to_bytes(4, "big") + run.platform.encode()
    row = txn.get("census", key)
    runs, rated, nodes, first, last = unpack(row) if row else (0, 0, 0, 0, 0)
    known = [one for one in (first, last, run.started) if one]
    times = (min(known), max(known)) if known else (0, 0)
    txn.put("census", key, pack([runs + 1, rated + (ranked > 0), nodes + (ranked == 1), *times]))
    if run.environment:
        _see(txn, record, run, protocol)


def counts(txn: Reader) -> Iterator[Count]:
    """Every (protocol, platform) that has runs, in the order of protocols and the names of platforms."""
    for key, row in txn.scan("census", b"p", b"q"):
        yield Count(int.from_bytes(key[1:5], "big"), key[5:].decode(), *unpack(row))


def environments(txn: Reader, protocol: int, platform: str) -> list[Seen]:
    """The environments of the runs of a protocol on a platform, in the order of their ids."""
    prefix, name = b"e" + protocol.to_bytes(4, "big"), platform.encode()
    rows = ((key[5:], row) for key, row in txn.scan("census", prefix, after(prefix)))
    return [Seen(key[:_ID].hex(), *unpack(row)) for key, row in rows if key[_ID:] == name]


def _see(txn: Writer, record: int, run: Run, protocol: int) -> None:
    id = bytes.fromhex(environment_id(run.environment))
    key = b"e" + protocol.to_bytes(4, "big") + id + run.platform.encode()
    row = txn.get("census", key)
    runs, first = unpack(row) if row else (0, record)
    txn.put("census", key, pack([runs + 1, first]))
