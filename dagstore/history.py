"""The history of new bests, out of the runs of a column."""

from collections.abc import Iterator

from dagstore.bests import SDS, Best, Bests, Hit, hits, standing
from dagstore.chains import id_of
from dagstore.channels import Channel
from dagstore.finding import short
from dagstore.index import RUN
from dagstore.lineage import Lineage
from dagstore.looking import Looking
from dagstore.model import Run, Status
from dagstore.shown import Rows
from dagstore.storage import Reader, after
from dagstore.tabular import run_columns


def history(store: Looking, txn: Reader, channel: Channel) -> Bests:
    """Every new best of a channel, in the order in which runs ended."""
    values = sorted(_values(store, txn, channel))
    found = hits(((run, tree, value) for _, run, tree, value in values), channel.direction)
    rows = Rows(_best(store, txn, channel, hit) for hit in found)
    return Bests(channel.metric, channel.direction, channel.protocol, channel.platform, channel.noise(), rows)


def _values(store: Looking, txn: Reader, channel: Channel) -> Iterator[tuple[float, int, int, float]]:
    """When each run that counts in a channel ended, its record, tree and value."""
    keys = (key for key, _ in txn.scan("facts", RUN, after(RUN)))
    trees = {int.from_bytes(key[5:], "big"): int.from_bytes(key[1:5], "big") for key in keys}
    records = sorted(trees)
    runs = run_columns(txn, store._objects, records)
    wanted = bytes(channel.protocol), channel.platform, Status.OK.value
    here = [column == wanted for column in zip(runs.protocol, runs.platform, runs.status, strict=True)]
    reported = runs.metrics.get(channel.metric)
    for row, value in zip(reported.rows, reported.values, strict=True) if reported else ():
        if here[row]:
            record = records[row]
            yield runs.started[row] + 1000 * runs.seconds[row], record, trees[record], value


def _best(store: Looking, txn: Reader, channel: Channel, hit: Hit) -> Best:
    lineage = Lineage(txn, channel)
    own, other = (lineage.standing(tree).moments for tree in (hit.tree, hit.before))
    noise = channel.noise()
    run: Run = store._objects.load(txn, hit.run)
    note = store._first_note(txn, hit.tree)
    return Best(
        run=id_of(txn, hit.run),  # type: ignore[arg-type]
        node=run.node,
        short=short(txn, run.node),
        time=run.started,
        agent=note.author if note else "",
        message=note.text if note else "",
        value=hit.value,
        gain=hit.gain if hit.before else None,
        previous=store._id(txn, hit.before) if hit.before else None,
        beyond=noise.taken is not None and hit.gain > SDS * noise.taken,
        standing=standing(hit, own, other, noise, channel.direction),
        runs=own.n,
        mean=own.mean,
    )
