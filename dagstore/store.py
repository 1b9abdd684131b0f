"""The one façade: opens the directory `.dag` and is what people, agents and trainers talk to."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dagstore.base import BATCH
from dagstore.blaming import Blaming
from dagstore.comparing import Comparing
from dagstore.confirming import Confirming
from dagstore.environment import DATA, LOG, OpenReader
from dagstore.errors import BadInput, Damaged, NotFound, Refused, Unavailable
from dagstore.explaining import Explaining
from dagstore.ids import NodeId
from dagstore.importing import Importing
from dagstore.index import VERSION as INDEX_VERSION
from dagstore.index import VERSION_KEY, catch_up, clear, indexed
from dagstore.keeping import Keeping
from dagstore.paths import CHARTER_PATH
from dagstore.pruning import Pruning
from dagstore.querying import Querying
from dagstore.refs import SEED
from dagstore.storage import Storage
from dagstore.storage_lmdb import BEHIND, LmdbStorage
from dagstore.suggesting import Suggesting
from dagstore.verifying import Verifying

if TYPE_CHECKING:
    from dagstore.charter import Charter
    from dagstore.index import Progress
    from dagstore.plot import Plots
    from dagstore.snapshot import Snapshot
    from dagstore.views import Initialised

FOLDER = ".dag"
FORMAT = 2
"""Of what is on disk. A store of a later format is refused, one of an earlier is read for ever."""

Say = Callable[[str], None]
Clock = Callable[[], float]
Entropy = Callable[[int], bytes]


class Store(Explaining, Comparing, Blaming, Querying, Confirming, Suggesting, Verifying, Importing, Keeping, Pruning):
    """An open store. Use it as a context manager, or `close()` it.

    Reading takes no lock that a writer waits for; one store may be shared by the threads of a process, never across
    `fork`.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._storage.close()

    @property
    def uuid(self) -> str:
        """Names this store; copies of it share the name."""
        with self._storage.read() as txn:
            return (txn.get("meta", b"uuid") or b"").hex()

    @property
    def plot(self) -> "Plots":
        """Pictures of what is in the store, as matplotlib figures."""
        from dagstore.plot import Plots

        return Plots(self)

    def log_size(self) -> tuple[int, int]:
        """How many bytes the log has, room for more included, and where the last commit ended."""
        end = self._on_disk.space().log  # first, since it may grow meanwhile
        return (self.folder / LOG).stat().st_size, end

    def readers(self) -> list[OpenReader]:
        """Who reads just now, in any process; what they may still see cannot be written over. The longest first."""
        return self._on_disk.readers()

    def __repr__(self) -> str:
        return f"<dagstore {self.folder}>"

    def _catch_up(self, progress: "Progress | None", *, readonly: bool) -> None:
        """Index what is in the log and not in the indexes, which then are those of a machine that lost its power."""
        if readonly:
            raise Unavailable(
                f"the indexes of {self.folder} are behind its log",
                hint="open it once where it can be written",
                code=BEHIND,
            )
        behind = True
        while behind:
            with self._storage.write() as writer:
                if not indexed(writer):
                    clear(writer)
                behind = catch_up(writer, self._objects, BATCH, progress)


def find_folder(start: Path | str = ".") -> Path:
    """The store folder that a directory belongs to: through its workspace pointer, or the nearest `.dag` above it."""
    here = os.fspath(start)
    if not os.path.isabs(here):
        here = str(Path(here).absolute())
    if os.path.basename(here) == FOLDER and _is_store(here):
        return Path(here)
    directory, below = here, ""
    while directory != below:
        folder = f"{directory}/{FOLDER}"
        if _is_store(folder):
            return Path(folder)
        if os.path.isfile(folder):
            from dagstore.workspaces import read_pointer

            pointer = read_pointer(Path(directory))
            if pointer is not None:
                return pointer[0]
        directory, below = os.path.dirname(directory), directory
    raise NotFound(f"{here} is not in a store", hint="make one with `dag init`")


def open_store(
    path: Path | str = ".",
    *,
    readonly: bool = False,
    stale: bool = False,
    progress: "Progress | None" = None,
    say: Say | None = None,
    clock: Clock = time.time,
    entropy: Entropy = os.urandom,
) -> Store:
    """The store that `path` belongs to. Where it cannot be written to, it opens for reading only.

    One whose indexes are of another version is refused unless `stale`, which only `reindex` should need; so is one of
    an earlier format, which `stale` brings up to date: `say` is then given a sentence. Where a power cut took the
    indexes they are made again from the log. Of either, `progress` tells (objects done, objects in all).
    """
    folder = find_folder(path)
    if os.path.isfile(f"{folder}/{DATA}"):
        _leave_format_1(folder, stale=stale and not readonly, progress=progress, say=say)
    readonly = readonly or not _writable(folder)
    store = Store(folder, LmdbStorage(folder, readonly=readonly, fresh=stale), clock, entropy)
    try:
        behind = _check_format(store._storage, folder, stale=stale)
        if behind and not stale:
            store._catch_up(progress, readonly=readonly)
    except BaseException:
        store.close()
        raise
    return store


def _leave_format_1(folder: Path, *, stale: bool, progress: "Progress | None", say: Say | None) -> None:
    """Bring a store of format 1 up to date if `stale`, else refuse it; end what was broken off when it was done."""
    from dagstore.upgrade import finish_upgrade, upgrade

    if (folder / LOG).is_file():
        if _writable(folder):
            finish_upgrade(folder)
        return
    if not stale:
        raise Refused(
            f"{folder} has store format 1", hint="bring it up to date with `dag fsck --reindex`", code="older_format"
        )
    if say:
        say(f"bringing {folder} from format 1 to {FORMAT}; its old file stays, as v1.mdb, until the next `dag gc`")
    upgrade(folder, progress)


def init_store(
    directory: Path | str,
    *,
    command: str | None = None,
    metric: str | None = None,
    direction: str | None = None,
    budget: float | None = None,
    editable: Iterable[str] = (),
    locked: Iterable[str] = (),
    agent: str = "",
    clock: Clock = time.time,
    entropy: Entropy = os.urandom,
) -> "Initialised":
    """Make a store in a project directory and record the directory as its seed node.

    Writes `dag.toml` if there is none, guessing what was not said; `guessed` tells what and from what. Nothing is left
    behind if the project cannot be recorded. `Refused` if there is a finished store already.
    """
    from dagstore.snapshot import snapshot
    from dagstore.views import Initialised

    root = Path(directory).absolute()
    if not root.is_dir():
        raise NotFound(f"{root} is no directory", hint="name the directory of your project")
    if (root / FOLDER).is_file():
        raise Refused(f"{root} is a workspace already", hint="record it with `dag seal`", code="exists")
    if _is_finished(root / FOLDER):
        raise _exists(root / FOLDER)
    said = {
        "command": command,
        "metric": metric,
        "direction": direction,
        "budget": budget,
        "editable": tuple(editable) or None,
        "locked": tuple(locked) or None,
    }
    with _charter_undone_on_failure(root):
        charter, guessed = _charter(root, {name: value for name, value in said.items() if value is not None})
        taken = snapshot(root, file_limit=charter.file_limit)
        with Store(root / FOLDER, _create(root / FOLDER), clock, entropy) as store:
            seed = _record_seed(store, taken, agent)
    return Initialised(seed, str(root / FOLDER), charter, tuple(guessed), len(taken.tree.entries))


def _record_seed(store: Store, taken: "Snapshot", agent: str) -> NodeId:
    """The seed node and what names the store, in one transaction: of two that begin at once, one makes the store."""
    with store._write() as txn:
        if txn.get("meta", SEED) is not None:
            raise _exists(store.folder)
        if not indexed(txn):
            clear(txn)
        seed = store._record(txn, [], taken.tree, taken.contents, (agent, "seed"))
        txn.put("meta", SEED, bytes(seed.id))
        txn.put("meta", b"uuid", store._entropy(16))
        txn.put("meta", b"format", str(FORMAT).encode())
        return seed.id


def _exists(folder: Path) -> Refused:
    return Refused(f"{folder} exists already", hint="go on with `dag spawn @seed`", code="exists")


@contextlib.contextmanager
def _charter_undone_on_failure(root: Path) -> Iterator[None]:
    """Should what follows fail, a charter that was not there before goes again, so that what was said may change."""
    ours = not (root / CHARTER_PATH).exists()
    try:
        yield
    except BaseException:
        if ours and not _is_finished(root / FOLDER):
            (root / CHARTER_PATH).unlink(missing_ok=True)
        raise


def _create(folder: Path) -> Storage:
    try:
        folder.mkdir(exist_ok=True)
        # A project in git should not swallow its store, and a project of ours never snapshots `.dag` anyway.
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"{folder}: {error.strerror}", hint="check permissions and free space") from error
    return LmdbStorage(folder, create=True)


def _charter(root: Path, said: dict[str, object]) -> "tuple[Charter, list[str]]":
    """The charter in the directory, or one that is guessed and written there."""
    from dagstore.charter import parse_charter, render_charter
    from dagstore.guess import guess_charter

    file = root / CHARTER_PATH
    try:
        if file.is_file():
            if said:
                names = ", ".join(f"--{name}" for name in said)
                raise BadInput(f"{file} exists, so {names} cannot be set", hint=f"edit {CHARTER_PATH} instead")
            return parse_charter(file.read_text(encoding="utf-8")), []
        charter, guessed = guess_charter(_project_texts(root), **said)  # type: ignore[arg-type]
        file.write_text(render_charter(charter), encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8: {error}", hint="save it as UTF-8") from None
    except OSError as error:
        raise Unavailable(f"{file}: {error.strerror}", hint="check permissions and free space") from error
    return charter, guessed


def _project_texts(root: Path) -> dict[str, str]:
    """Small top-level files that a charter can be guessed from, by name."""
    texts = {}
    for file in sorted(root.iterdir()):
        if file.is_file() and file.stat().st_size <= 1 << 20:
            readable = file.suffix in (".py", ".md", ".toml", ".sh")
            texts[file.name] = file.read_text(encoding="utf-8", errors="replace") if readable else ""
    return texts


def _is_finished(folder: Path) -> bool:
    if not (folder / LOG).is_file():
        from dagstore.storage_lmdb_v1 import is_finished

        return is_finished(folder)
    try:
        storage = LmdbStorage(folder, readonly=not _writable(folder))
    except Damaged:
        return False
    with contextlib.closing(storage), storage.read() as txn:
        return txn.get("meta", SEED) is not None


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and os.access(folder / LOG, os.W_OK)


def _is_store(folder: str) -> bool:
    """Whether the folder holds a store, of this format or of format 1."""
    return os.path.isfile(f"{folder}/{LOG}") or os.path.isfile(f"{folder}/{DATA}")


def _check_format(storage: Storage, folder: Path, *, stale: bool) -> bool:
    """Whether there are records that are not indexed; refuses what this version cannot read."""
    with storage.read() as txn:
        raw, version = txn.get("meta", b"format"), txn.get("place", VERSION_KEY)
        done, records = indexed(txn), txn.records()
    if raw is None and records:
        if stale:
            return True
        raise Damaged(
            f"the log of {folder} has lost its beginning, without which no node can be read",
            hint="restore a copy; if there is none, `dag fsck --repair`, then `dag init` records the project anew",
        )
    if raw is None:
        raise NotFound(f"{folder} was never finished", hint="run `dag init` again")
    if not raw.isdigit() or int(raw) > FORMAT:
        found = raw.decode("ascii", "replace")
        raise Refused(
            f"{folder} has store format {found}, this dagstore reads up to {FORMAT}",
            hint="upgrade dagstore",
            code="newer_format",
        )
    if not stale and done and version != str(INDEX_VERSION).encode():
        raise Refused(f"{folder} has indexes of another version", hint="run `dag fsck --reindex`", code="stale_index")
    return done < records
