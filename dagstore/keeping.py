"""How a store is kept: checked, rebuilt, swept, counted and copied."""

from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dagstore.base import BATCH, Base
from dagstore.errors import DagError, Damaged
from dagstore.files import BlobFiles
from dagstore.index import catch_up, clear, indexed
from dagstore.objects import Objects
from dagstore.quarantine import count_left_out
from dagstore.storage_lmdb import LmdbStorage

if TYPE_CHECKING:
    from dagstore.copying import Copied
    from dagstore.findings import Progress, Report
    from dagstore.gc import Swept
    from dagstore.stats import Stats

GRACE = 24 * 3600.0
KEEP_BEST = 20


class Keeping(Base):
    def fsck(
        self,
        depth: str = "quick",
        progress: "Progress | None" = None,
        *,
        resume: bool = False,
        seconds: float | None = None,
    ) -> "Report":
        """Everything found wrong within `depth` (`quick`, `links` or `full`); nothing of the store is changed.

        It ends early after so many `seconds`. With `resume` it goes on where one of the same depth ended or was
        broken off.
        """
        from dagstore.check import check

        end = None if seconds is None else self._clock() + seconds
        return check(
            self._on_disk,
            self.folder,
            depth,
            progress,
            resume=resume,
            stop=lambda: end is not None and self._clock() >= end,
            clock=self._clock,
        )

    def reindex(self, progress: "Progress | None" = None) -> int:
        """Make the index again from the log alone; how many objects are in it.

        `Refused` while others have the store open, `Damaged` if the log is damaged; then the index is as it was.
        """
        with self._storage.read() as txn:
            made_again = not indexed(txn)
        if not made_again:
            self._check_log()
            self._make_again()
        behind = True
        while behind:
            with self._storage.write() as writer:
                if not indexed(writer):
                    clear(writer)
                behind = catch_up(writer, self._objects, BATCH, progress)
        with self._storage.read() as txn:
            return txn.records() - count_left_out(txn)

    def repair(self, progress: "Progress | None" = None) -> tuple[str, ...]:
        """Give up what is damaged and make the index again from what is left; what was done.

        Damaged bytes of the log and files of blobs are put into the folder `quarantine`. `Refused` while others have
        the store open.
        """
        from dagstore.repair import Repair

        repair = Repair(self.folder, progress)
        repair.run(self._on_disk, self._make_again)
        return tuple(repair.actions)

    def _check_log(self) -> None:
        """`Damaged` if not all of the log is whole that the index knows of: without it nobody would know."""
        from dagstore.check import log_damage

        damage = log_damage(self._on_disk, self.folder)
        if damage is not None:
            raise Damaged(damage.message, hint=damage.hint)

    def _make_again(self) -> LmdbStorage:
        """Open the store again with an index that is made from the log, and forget what came from the other one."""
        self._storage.close()
        try:
            opened = self._storage = LmdbStorage(self.folder, fresh=True)
        except DagError:
            with suppress(DagError):
                self._storage = LmdbStorage(self.folder)
            raise
        self._objects = Objects(BlobFiles(self.folder / "blobs"))
        vars(self).pop("_held", None)  # the graph, where it was loaded
        return opened

    def gc(
        self,
        *,
        dry_run: bool = False,
        grace: float = GRACE,
        logs_older: float | None = None,
        artifacts_older: float | None = None,
        keep_best: int = KEEP_BEST,
        progress: "Progress | None" = None,
    ) -> "Swept":
        """Remove sealed and stale workspaces, overdue claims, leftovers and files that no record names.

        What showed a sign of life within `grace` seconds stays. With `logs_older` also logs of runs that ended more
        than so many seconds ago, with `artifacts_older` all their artifacts; not those of the `keep_best` first nodes
        of a ranking, nor what is no file of its own. With `dry_run` only say what would go.
        """
        from dagstore.eviction import Policy
        from dagstore.gc import Sweep

        policy = Policy(grace, logs_older, artifacts_older, keep_best)
        sweep = Sweep(self._storage, self._write, self._objects, self.folder, self._now(), policy, progress)
        return sweep.foresee() if dry_run else sweep.run()

    def stats(self, progress: "Progress | None" = None) -> "Stats":
        """What the store holds, and where its bytes go."""
        from dagstore.stats import count

        return count(self._on_disk, self.folder, progress)

    def copy(self, place: Path | str, *, link: bool = False, progress: "Progress | None" = None) -> "Copied":
        """A store like this one as it is now, in `place`/.dag, or in `place` if that is called `.dag`; it is checked.

        Others may write meanwhile. Directories of workspaces are not copied. With `link` the files of large blobs are
        shared by hard links where that can be.
        """
        from dagstore.copying import Copied, copy_file, copy_files, copy_records, emerging, explain, target_of

        target = target_of(Path(place).absolute())
        with emerging(target) as folder:
            log = copy_records(self._on_disk, self.folder, folder)
            with closing(LmdbStorage(folder)) as opened:
                copy = type(self)(folder, opened, self._clock, self._entropy)
                source, into = BlobFiles(self.folder / "blobs"), BlobFiles(folder / "blobs")
                files, size, missing = copy_files(opened, source, into, link=link, progress=progress)
                with self._storage.read() as txn, copy._write() as writer:
                    unknown = explain(txn, writer, missing)
                # One that was brought back meanwhile has a file again.
                lost = [blob for blob in unknown if copy_file(source.path(blob), into.path(blob), link=link) is None]
                report, index = copy.fsck(), opened.space().file
        return Copied(str(target), report.objects, log, index, files, size, tuple(lost), report.findings)

    @property
    def _on_disk(self) -> LmdbStorage:
        assert isinstance(self._storage, LmdbStorage)
        return self._storage
