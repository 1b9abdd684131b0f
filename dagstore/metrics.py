"""Other metrics than the protocol's: each is a column of a channel, in which trees are in the order of their means.

Rows of the table `rank`:

    m <channel:4> <metric>  -> number of the column
    x <column:4> <node:4>   -> [n, mean, squares], where n > 1
    y <column:4>            -> the pool of its noise, where something was repeated

and of the set `metrics`:

    <column:4> <score:8> <node:4>
"""

from collections.abc import Iterator, Mapping

from dagstore.channels import Channel
from dagstore.codec import pack, unpack
from dagstore.ids import BlobId
from dagstore.rank import Moments, Noise, Pool, score_key, score_value
from dagstore.storage import Reader, Writer, after

Metrics = Mapping[str, float]


def add_metrics(txn: Writer, channel: Channel, node: int, metrics: Metrics, runs: int, only: Metrics) -> None:
    """Account for the other metrics of a run of a tree, before which `runs` were counted; `only` are those of one."""
    for name in sorted(metrics.keys() - {channel.metric}):
        _add(txn, channel, name, node, metrics[name], runs, only.get(name))


def ranked_by(txn: Reader, channel: Channel, metric: str, *, reverse: bool = False) -> Iterator[tuple[int, Moments]]:
    """Trees that have the metric, with its moments, in the channel's direction; equal means by age."""
    column = txn.get("rank", _name(channel, metric))
    for key, _ in txn.scan("metrics", column, after(column), reverse=reverse) if column else ():
        several = txn.get("rank", b"x" + column + key[12:]) if column else None
        value = score_value(key[4:12], channel.direction)
        yield int.from_bytes(key[12:], "big"), _moments(several) if several else Moments(1, value)


def noise_of(txn: Reader, channel: Channel, metric: str) -> Noise:
    """The run-to-run noise of a metric in a channel."""
    if metric == channel.metric:
        return channel.noise()
    column = txn.get("rank", _name(channel, metric))
    return _pool(txn, column).noise() if column else Noise(None, 0)


def _add(txn: Writer, channel: Channel, metric: str, node: int, value: float, runs: int, only: float | None) -> None:
    column = _column(txn, channel, metric)
    row = b"x" + column + node.to_bytes(4, "big")
    old = Moments(1, only) if only is not None else _moments(txn.get("rank", row)) if runs > 1 else Moments()
    new = old.add(value)
    if old.n:
        txn.delete("metrics", column + score_key(old.mean, channel.direction) + node.to_bytes(4, "big"))
        txn.put("rank", b"y" + column, pack([*_pool(txn, column).replace(old, new)]))
    txn.put("metrics", column + score_key(new.mean, channel.direction) + node.to_bytes(4, "big"), b"")
    if runs:
        txn.put("rank", row, pack([new.n, new.mean, new.squares]))


def _column(txn: Writer, channel: Channel, metric: str) -> bytes:
    name = _name(channel, metric)
    column = txn.get("rank", name)
    if column is None:
        last = next((key for key, _ in txn.scan("metrics", reverse=True)), bytes(4))
        column = (int.from_bytes(last[:4], "big") + 1).to_bytes(4, "big")
        txn.put("rank", name, column)
    return column


def _name(channel: Channel, metric: str) -> bytes:
    # A name may be longer than a key.
    return b"m" + channel.key + BlobId.of(metric.encode())


def _pool(txn: Reader, column: bytes) -> Pool:
    row = txn.get("rank", b"y" + column)
    return Pool(*unpack(row)) if row else Pool()


def _moments(row: bytes | None) -> Moments:
    return Moments(*unpack(row)) if row else Moments()
