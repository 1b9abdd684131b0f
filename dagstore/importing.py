"""What others recorded comes into a store: nodes without code, under the names that they had there."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dagstore.measuring import Measuring

if TYPE_CHECKING:
    from dagstore.imported import Imported
    from dagstore.model import Direction

PATIENCE = 10.0
"""Seconds that matching a pattern against the messages of a file may take."""


class Importing(Measuring):
    def import_hub(
        self,
        path: Path | str,
        *,
        metric: str,
        direction: "Direction | str",
        rerun: str | None = None,
        patience: float = PATIENCE,
        progress: Callable[[int, int], None] | None = None,
    ) -> "Imported":
        """Bring in the DAG of a hub, from a file with what its `GET /api/git/dag` answered; says what came.

        A record becomes a node whose code is lost, called as in the hub, and a run of it under a protocol of the
        hub's own. Records on one parent whose whole message matches the regular expression `rerun` become runs of one
        node. Records that are known change nothing, so what was interrupted is completed by importing it again. Times
        and authors are those of the file; what it does not say is left empty.

        `BadInput` if the file is none, has no number for the metric in any record, or matching takes longer than
        `patience` seconds. `progress` is told of records done and in all.
        """
        from dagstore.hub import read_dump
        from dagstore.intake import Intake, read_file
        from dagstore.patience import full_matches

        dump = read_dump(read_file(Path(path)), metric)
        messages = ((commit.id, commit.message) for commit in dump.commits)
        reruns = full_matches(rerun, messages, patience) if rerun is not None else ()
        return Intake(self, dump, metric, direction, frozenset(reruns)).bring(progress)
