"""What a repair left out of the indexes: records that cannot be read, and objects that cannot be without them.

Rows of the table `state`: `quarantine/<record>`, so that indexes that are made again leave the same out, and
`damage/<offset>` for bytes of the log. What is left out counts as not there: it may be recorded again, under a new
number and the same id.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dagstore.codec import pack, unpack
from dagstore.storage import Reader, Writer, after

PREFIX = b"quarantine/"
DAMAGE = b"damage/"
TWICE = "twice"
"""The code of a record whose object is in an earlier one as well, so that whatever refers to it is whole."""


class LeftOut(NamedTuple):
    """`what` names the object of a record as far as it is known; `code` and `reason` say why it was left out."""

    record: int
    code: str
    what: str
    reason: str


def leave_out(txn: Writer, one: LeftOut) -> None:
    txn.put("state", _key(one.record), pack([one.code, one.what, one.reason]))


def give_up_bytes(txn: Writer, offset: int, end: int) -> None:
    """Remember that bytes of the log are damaged."""
    txn.put("state", DAMAGE + b"%016d" % offset, pack(end))


def take_back(txn: Writer) -> None:
    """Leave nothing out any more."""
    for prefix in (PREFIX, DAMAGE):
        for key in [key for key, _ in txn.scan("state", prefix, after(prefix))]:
            txn.delete("state", key)


def left_out(txn: Reader) -> Iterator[LeftOut]:
    """Everything that is left out, in the order of records."""
    for key, row in txn.scan("state", PREFIX, after(PREFIX)):
        yield LeftOut(_record(key), *unpack(row))


def count_left_out(txn: Reader) -> int:
    return sum(1 for _ in txn.scan("state", PREFIX, after(PREFIX)))


def records_left_out(txn: Reader, first: int, last: int) -> frozenset[int]:
    """Those among the records from `first` to `last`."""
    return frozenset(_record(key) for key, _ in txn.scan("state", _key(first), _key(last + 1)))


def bytes_given_up(txn: Reader) -> list[range]:
    """Bytes of the log that are known to be damaged, in order."""
    rows = txn.scan("state", DAMAGE, after(DAMAGE))
    return [range(int(key[len(DAMAGE) :]), unpack(row)) for key, row in rows]


def _key(record: int) -> bytes:
    return PREFIX + b"%010d" % record


def _record(key: bytes) -> int:
    return int(key[len(PREFIX) :])
