"""gc and stats: removes what nobody can miss, and counts where the bytes go. Never a node, a run or a note."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dagstore.claims import all_claims, drop_claim
from dagstore.objects import every
from dagstore.storage import TABLES, Reader, Writer
from dagstore.tickets import all_tickets
from dagstore.workspaces import all_workspaces, forget_workspace

GRACE_MS = 24 * 3600 * 1000
"""How long a workspace is kept after its claim ran out, so that a slow agent can still seal it."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What gc removed (or would remove): workspaces by path, overdue claims, leftovers of writes that never ended."""

    workspaces: tuple[str, ...]
    claims: int
    leftovers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    count: int
    plain: int
    stored: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts, and bytes: `plain` as given, `stored` as packed, `disk` as files on disk."""

    nodes: int
    runs: int
    kinds: dict[str, Kind]
    tables: dict[str, int]
    queued: int
    claims: int
    workspaces: int
    disk: int


@dataclass(frozen=True, slots=True)
class Stale:
    """What may go: workspaces by id and path, tokens of claims, paths of leftovers."""

    workspaces: dict[str, str]
    tokens: tuple[int, ...]
    leftovers: tuple[str, ...]

    @property
    def summary(self) -> Swept:
        return Swept(tuple(self.workspaces.values()), len(self.tokens), self.leftovers)


def find_stale(txn: Reader, folder: Path, now: int) -> Stale:
    """Workspaces that were sealed or outlived their claim, overdue claims of proposers, and leftovers."""
    inside = str(folder / "workspaces") + "/"
    deadlines = {claim.token: claim.deadline for claim in all_claims(txn)}
    workspaces = {
        one.id: one.path
        for one in all_workspaces(txn)
        if one.path.startswith(inside) and (one.sealed or deadlines.get(one.token, one.created) + GRACE_MS < now)
    }
    held = {ticket.token for ticket in all_tickets(txn)}
    overdue = (claim.token for claim in all_claims(txn) if claim.deadline + GRACE_MS < now)
    tokens = tuple(token for token in overdue if token not in held)
    working = {str(token) for token in deadlines.keys() - set(tokens)}
    leftovers = (path for path in _leftovers(folder, now) if path.name not in working)
    return Stale(workspaces, tokens, tuple(map(str, leftovers)))


def forget(txn: Writer, stale: Stale) -> None:
    """Drop the rows of what may go; the files are removed afterwards."""
    for id in stale.workspaces:
        forget_workspace(txn, id)
    for token in stale.tokens:
        drop_claim(txn, token)


def remove(swept: Swept) -> None:
    """Remove the directories and files that a sweep named."""
    for name in (*swept.workspaces, *swept.leftovers):
        path = Path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _leftovers(folder: Path, now: int) -> Iterator[Path]:
    """Half-written blobs and scratch directories whose owner is long gone."""
    for path in (*folder.glob("blobs/*/tmp-*"), *folder.glob("scratch/*")):
        if path.lstat().st_mtime * 1000 + GRACE_MS < now:
            yield path


def count(txn: Reader, folder: Path) -> Stats:
    kinds: dict[str, Kind] = {}
    for _, envelope in every(txn):
        old = kinds.get(envelope.kind.kind, Kind(0, 0, 0))
        kinds[envelope.kind.kind] = Kind(old.count + 1, old.plain + envelope.size, old.stored + len(envelope.payload))
    files = (folder / "data.mdb", *folder.glob("blobs/*/*"))
    return Stats(
        nodes=kinds.get("node", Kind(0, 0, 0)).count,
        runs=kinds.get("run", Kind(0, 0, 0)).count,
        kinds=kinds,
        tables={table: txn.count(table) for table in TABLES},
        queued=sum(1 for _ in all_tickets(txn)),
        claims=sum(1 for _ in all_claims(txn)),
        workspaces=sum(1 for _ in all_workspaces(txn)),
        disk=sum(file.stat().st_blocks * 512 for file in files if file.is_file()),
    )
