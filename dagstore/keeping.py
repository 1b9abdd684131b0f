"""How a store is kept: checked, rebuilt, swept and counted."""

from typing import TYPE_CHECKING

from dagstore.base import Base
from dagstore.index import VERSION

if TYPE_CHECKING:
    from dagstore.check import Progress, Report
    from dagstore.gc import Stats, Swept


class Keeping(Base):
    def fsck(self, depth: str = "quick", progress: "Progress | None" = None) -> "Report":
        """Everything found wrong within `depth` (`quick`, `links` or `full`); changes nothing."""
        from dagstore.check import check

        with self._storage.read() as txn:
            return check(txn, self._objects, depth, progress)

    def reindex(self, progress: "Progress | None" = None) -> int:
        """Build all derived tables again from the objects; how many objects were read."""
        from dagstore.check import reindex

        with self._storage.write() as txn:
            done = reindex(txn, self._objects, progress)
            txn.put("meta", b"index", str(VERSION).encode())
            return done

    def gc(self, *, dry_run: bool = False) -> "Swept":
        """Remove sealed and stale workspaces, overdue claims and leftovers; with `dry_run` only say which."""
        from dagstore.gc import find_stale, forget, remove

        if dry_run:
            with self._storage.read() as txn:
                return find_stale(txn, self.folder, self._now()).summary
        with self._storage.write() as writer:
            stale = find_stale(writer, self.folder, self._now())
            forget(writer, stale)
        remove(stale.summary)
        return stale.summary

    def stats(self) -> "Stats":
        from dagstore.gc import count

        with self._storage.read() as txn:
            return count(txn, self.folder)
