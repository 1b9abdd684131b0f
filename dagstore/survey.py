"""What was measured under which protocol and on which platform: the columns that are never compared."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter

from dagstore.census import Count, Seen, counts, environments
from dagstore.chains import id_of
from dagstore.channels import Channel, channels, default_channel
from dagstore.columns import PlatformView, ProtocolView
from dagstore.finding import short
from dagstore.ids import ProtocolId
from dagstore.lineage import members
from dagstore.model import Protocol, Run
from dagstore.objects import Objects
from dagstore.rank import Noise
from dagstore.storage import Reader

Columns = Mapping[tuple[ProtocolId, str], Channel]


def protocols(txn: Reader, objects: Objects) -> Iterator[ProtocolView]:
    """Every protocol that has runs, in the order of their records."""
    columns = _columns(txn)
    for record, group in groupby(counts(txn), attrgetter("protocol")):
        yield _protocol_view(txn, objects, record, list(group), columns)


def platforms(txn: Reader, objects: Objects) -> Iterator[PlatformView]:
    """Every platform with each protocol that has runs on it, by name and then by the record of the protocol."""
    columns = _columns(txn)
    for count in sorted(counts(txn), key=attrgetter("platform", "protocol")):
        yield _platform_view(txn, objects, count, columns)


def _protocol_view(txn: Reader, objects: Objects, record: int, group: list[Count], columns: Columns) -> ProtocolView:
    id = ProtocolId(id_of(txn, record))
    it: Protocol = objects.load(txn, record)
    shown = default_channel(txn)
    times = [time for count in group for time in (count.first, count.last) if time]
    return ProtocolView(
        id=id,
        short=short(txn, id),
        command=it.command,
        metric=it.metric,
        direction=it.direction,
        budget=it.budget,
        locked=len(it.locked),
        fingerprint=it.fingerprint,
        runs=sum(count.runs for count in group),
        nodes=_nodes(txn, id, group, columns),
        platforms=tuple(count.platform for count in group),
        first=min(times, default=0),
        last=max(times, default=0),
        shown=shown is not None and shown.protocol == id,
    )


def _platform_view(txn: Reader, objects: Objects, count: Count, columns: Columns) -> PlatformView:
    id = ProtocolId(id_of(txn, count.protocol))
    column, shown = columns.get((id, count.platform)), default_channel(txn)
    seen = environments(txn, count.protocol, count.platform)
    return PlatformView(
        platform=count.platform,
        protocol=id,
        short=short(txn, id),
        metric=objects.load(txn, count.protocol).metric,
        runs=count.runs,
        ranked=count.ranked,
        nodes=count.nodes,
        noise=column.pool.noise() if column else Noise(None, 0),
        environments=tuple(one.id for one in seen),
        differs=_differs(txn, objects, seen),
        shown=column is not None and shown is not None and shown.number == column.number,
    )


def _columns(txn: Reader) -> Columns:
    return {(channel.protocol, channel.platform): channel for channel in channels(txn)}


def _nodes(txn: Reader, id: ProtocolId, group: list[Count], columns: Columns) -> int:
    """How many trees have a ranked run of the protocol, those on several platforms once."""
    if len(group) == 1:
        return group[0].nodes
    found = [columns[id, count.platform] for count in group if count.nodes]
    return len({node for column in found for node, _ in members(txn, column)})


def _differs(txn: Reader, objects: Objects, seen: Iterable[Seen]) -> tuple[str, ...]:
    """The facts that are not the same in all of these environments, by name."""
    runs: list[Run] = [objects.load(txn, one.record) for one in seen]
    names = {name for run in runs for name in run.environment}
    return tuple(sorted(name for name in names if len({run.environment.get(name) for run in runs}) > 1))
