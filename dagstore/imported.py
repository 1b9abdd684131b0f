"""What an import did, as a plain value."""

from dataclasses import dataclass

from dagstore.hub import Remark
from dagstore.ids import NodeId, ProtocolId
from dagstore.shown import Rows, Shown


@dataclass(frozen=True, slots=True)
class Imported(Shown):
    """What came of the `records` of a file.

    `nodes` and `runs` are those that are new; `invalid` of the runs have no metric. `known` records were in the store
    before and changed nothing. `reruns` records came as runs of `folded` nodes. `left_out` says which records did not
    come in and why, `in_part` what was missing of others. `root` is the node that the first root of the file became,
    or the one that its commits build on.
    """

    source: str
    records: int
    nodes: int
    runs: int
    invalid: int
    known: int
    reruns: int
    folded: int
    left_out: Rows[Remark]
    in_part: Rows[Remark]
    protocol: ProtocolId | None
    platforms: tuple[str, ...]
    root: NodeId | None
