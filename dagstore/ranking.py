"""The frontier index: for every (protocol, platform) the measured trees in the order of their estimate.

A tree is named by the first node that has it.

Rows of the table `rank`, all derived from runs in sequence order:

    c <protocol> <platform>           -> channel number
    d <channel:4>                     -> [protocol, platform, metric, direction, ok runs, pool…]
    s <channel:4> <score:8> <node:4>  ->
    t <channel:4> <node:4>            -> [n, mean, squares]
    l                                 -> channel of the last measured run of code that is not lost
    m <channel:4> <metric>            -> number of the column of another metric
    x <column:4> <node:4>             -> [n, mean, squares], where n > 1

and of the set `metrics`, for every metric besides the protocol's:

    <column:4> <score:8> <node:4>

A channel's noise and order change in the transaction that records the run: a reader sees both or neither.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from dagstore.codec import pack, unpack
from dagstore.ids import BlobId, ProtocolId
from dagstore.model import Direction, Protocol, Run, Status
from dagstore.rank import Moments, Pool, score_key, score_value
from dagstore.storage import Reader, Writer, after


class Channel(NamedTuple):
    """One column of comparable numbers."""

    number: int
    protocol: ProtocolId
    platform: str
    metric: str
    direction: Direction
    runs: int
    pool: Pool


Metrics = Mapping[str, float]


def add_run(
    txn: Writer, run: Run, node: int, protocol: Protocol, only: Callable[[Channel], Metrics], *, leads: bool = True
) -> int:
    """Account for a run of the tree of that node; only an `ok` run with the protocol's metric counts.

    How many of the tree count now, 0 if this one does not. `only` gives the metrics of the one run that was counted
    before, where there is just one. Its column is the default one from now on, if the run `leads`.
    """
    value = run.metrics.get(protocol.metric)
    if run.status is not Status.OK or value is None:
        return 0
    channel = _channel_for(txn, run, protocol)
    number = channel.number.to_bytes(4, "big")
    row = b"t" + number + node.to_bytes(4, "big")
    old = _moments(txn.get("rank", row))
    new = old.add(value)
    if old.n:
        txn.delete("rank", _score(channel, old.mean, node))
    txn.put("rank", _score(channel, new.mean, node), b"")
    txn.put("rank", row, pack([new.n, new.mean, new.squares]))
    _save(txn, channel._replace(runs=channel.runs + 1, pool=channel.pool.replace(old, new)))
    if leads:
        txn.put("rank", b"l", number)
    before = only(channel) if old.n == 1 else {}
    for name in sorted(run.metrics.keys() - {protocol.metric}):
        _add_metric(txn, channel, name, node, run.metrics[name], old.n, before.get(name))
    return new.n


def channels(txn: Reader) -> list[Channel]:
    """All channels, in the order of their first run."""
    return [_channel(int.from_bytes(key[1:], "big"), row) for key, row in txn.scan("rank", b"d", b"e")]


def default_channel(txn: Reader, platform: str | None = None, protocol: ProtocolId | None = None) -> Channel | None:
    """The column that a ranking shows unless told otherwise; None when nothing was measured.

    It is of the protocol that was measured last, on the platform with the most runs of it (or those asked for). Code
    that is lost cannot be built on, so runs of it are shown only where protocol or platform ask for them.
    """
    last = txn.get("rank", b"l")
    if last is None and platform is None and protocol is None:
        return None
    wanted = [one for one in channels(txn) if platform in (None, one.platform) and protocol in (None, one.protocol)]
    if protocol is None and last is not None:
        protocol = _channel(int.from_bytes(last, "big"), txn.get("rank", b"d" + last) or b"").protocol
    same = [one for one in wanted if one.protocol == protocol] or wanted[-1:]
    return max(same, key=lambda one: (one.runs, -one.number), default=None)


def ranked(txn: Reader, channel: Channel) -> Iterator[tuple[int, Moments]]:
    """Measured trees of a channel with their moments, best estimate first; equal estimates by age."""
    number = channel.number.to_bytes(4, "big")
    prefix = b"s" + number
    for key, _ in txn.scan("rank", prefix, after(prefix)):
        yield int.from_bytes(key[13:], "big"), _moments(txn.get("rank", b"t" + number + key[13:]))


def ranked_by(txn: Reader, channel: Channel, metric: str) -> Iterator[tuple[int, Moments]]:
    """The same by another metric that runs in the channel report, in the channel's direction."""
    column = txn.get("rank", _column_name(channel, metric))
    for key, _ in txn.scan("metrics", column, after(column)) if column else ():
        several = txn.get("rank", b"x" + column + key[12:]) if column else None
        value = score_value(key[4:12], channel.direction)
        yield int.from_bytes(key[12:], "big"), _moments(several) if several else Moments(1, value)


def moments_of(txn: Reader, channel: Channel, node: int) -> Moments:
    """What was measured of the tree of one node in a channel; `n` is 0 if nothing was."""
    return _moments(txn.get("rank", b"t" + channel.number.to_bytes(4, "big") + node.to_bytes(4, "big")))


def members(txn: Reader, channel: Channel) -> Iterator[int]:
    """Every measured tree of a channel, in the order of recording."""
    prefix = b"t" + channel.number.to_bytes(4, "big")
    for key, _ in txn.scan("rank", prefix, after(prefix)):
        yield int.from_bytes(key[5:], "big")


def _add_metric(
    txn: Writer, channel: Channel, metric: str, node: int, value: float, runs: int, only: float | None
) -> None:
    """Account for another metric of a run, `runs` of which were counted before; `only` is its value in a single one."""
    column = _column(txn, channel, metric)
    row = b"x" + column + node.to_bytes(4, "big")
    old = Moments(1, only) if only is not None else _moments(txn.get("rank", row)) if runs > 1 else Moments()
    new = old.add(value)
    if old.n:
        txn.delete("metrics", column + score_key(old.mean, channel.direction) + node.to_bytes(4, "big"))
    txn.put("metrics", column + score_key(new.mean, channel.direction) + node.to_bytes(4, "big"), b"")
    if runs:
        txn.put("rank", row, pack([new.n, new.mean, new.squares]))


def _column(txn: Writer, channel: Channel, metric: str) -> bytes:
    name = _column_name(channel, metric)
    column = txn.get("rank", name)
    if column is None:
        last = next((key for key, _ in txn.scan("metrics", reverse=True)), bytes(4))
        column = (int.from_bytes(last[:4], "big") + 1).to_bytes(4, "big")
        txn.put("rank", name, column)
    return column


def _column_name(channel: Channel, metric: str) -> bytes:
    # A name may be longer than a key.
    return b"m" + channel.number.to_bytes(4, "big") + BlobId.of(metric.encode())


def _channel_for(txn: Writer, run: Run, protocol: Protocol) -> Channel:
    name = _name(run.protocol, run.platform)
    raw = txn.get("rank", name)
    if raw is not None:
        return _channel(int.from_bytes(raw, "big"), txn.get("rank", b"d" + raw) or b"")
    number = 1 + sum(1 for _ in txn.scan("rank", b"d", b"e"))
    txn.put("rank", name, number.to_bytes(4, "big"))
    return Channel(number, run.protocol, run.platform, protocol.metric, protocol.direction, 0, Pool())


def _name(protocol: ProtocolId, platform: str) -> bytes:
    return b"c" + protocol + platform.encode()


def _save(txn: Writer, channel: Channel) -> None:
    pool = channel.pool
    row = [bytes(channel.protocol), channel.platform, channel.metric, channel.direction.value]
    txn.put(
        "rank",
        b"d" + channel.number.to_bytes(4, "big"),
        pack([*row, channel.runs, pool.runs, pool.groups, pool.squares]),
    )


def _channel(number: int, row: bytes) -> Channel:
    protocol, platform, metric, direction, runs, *pool = unpack(row)
    return Channel(number, ProtocolId(protocol), platform, metric, Direction(direction), runs, Pool(*pool))


def _score(channel: Channel, mean: float, node: int) -> bytes:
    return b"s" + channel.number.to_bytes(4, "big") + score_key(mean, channel.direction) + node.to_bytes(4, "big")


def _moments(row: bytes | None) -> Moments:
    return Moments(*unpack(row)) if row else Moments()
