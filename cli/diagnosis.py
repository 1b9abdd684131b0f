"""What may be wrong with an installation, a store's file system or the experiments' Python, as findings."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli import distribution
from cli.app import App
from cli.filesystem import kind_of, lacks
from cli.render import size
from dagstore import Charter, DagError, NotFound, Store
from dagstore.presence import boot_id
from dagstore.stats import LONG
from dagstore.store import find_folder

OK, WARN, FAIL = "ok", "warn", "fail"
_LITTLE, _TOO_LITTLE = 2e9, 1e8
_LISTED = 5
_ASK_TORCH = "import importlib.util as u; print(u.find_spec('torch') is not None)"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `hint` says what to do unless all is well."""

    check: str
    state: str
    message: str
    hint: str = ""


def examine(app: App) -> list[Finding]:
    """Every finding, in the order in which to read them."""
    return [*_installation(), *_store(app), *_experiments(app)]


# --- the installation ---


def _installation() -> Iterator[Finding]:
    yield Finding("python", OK, f"{sys.version.split()[0]} at {sys.executable}")
    yield Finding("versions", OK, _versions())
    installed = distribution.find()
    if installed is None:
        yield Finding("packages", WARN, "dagstore is not installed, only on the path", "install it: pip install …")
    elif distribution.is_editable(installed):
        yield Finding("packages", OK, "installed for editing, so nothing to compare with")
    for name in distribution.PACKAGES:
        problem = distribution.problem(installed, name)
        if problem:
            yield Finding(f"package {name}", FAIL, problem, distribution.REMEDY)
    if installed is not None and not distribution.is_editable(installed):
        yield Finding("packages", OK, f"looked at {', '.join(distribution.PACKAGES)}")
    yield from _engines()


def _engines() -> Iterator[Finding]:
    """Which clusters experiments can be sent to, as far as that is installed here; the cluster itself is not asked."""
    from trainer.engines.catalogue import LIBRARIES, is_installed, remedy

    for name, library in LIBRARIES.items():
        if is_installed(name):
            yield Finding(f"engine {name}", OK, f"{library} {distribution.version(library)}")
        else:
            yield Finding(f"engine {name}", OK, f"{library} is not installed; for clusters only: {remedy(name)}")


def _versions() -> str:
    from dagstore.environment import ENGINE

    engine = "0.9" if ENGINE == 0 else "1.0"
    versions = ((name, distribution.version(name)) for name in ("dagstore", "lmdb", "blake3", "msgpack", "click"))
    return ", ".join(f"{name} {version}" for name, version in versions) + f"; LMDB data format {engine}"


# --- the store ---


def _store(app: App) -> Iterator[Finding]:
    try:
        folder = find_folder(app.directory)
    except NotFound as error:
        yield Finding("store", WARN, error.message, error.hint)
        return
    try:
        store = app.store(readonly=True)
    except DagError as error:
        yield Finding("store", FAIL, error.message, error.hint)
    else:
        yield Finding("store", OK, str(folder))
        yield _log(store)
        yield _readers(store)
    if not boot_id():
        message = (
            "this system does not tell one boot from another: commits are slower, and a killed process costs the index"
        )
        yield Finding("restarts", WARN, message, "nothing is lost by that; Linux with /proc does better")
    yield from _file_system(folder)


def _log(store: Store) -> Finding:
    """Whether the log is as long as it was when it was written last, and what is reserved behind its end."""
    size_, end = store.log_size()
    if size_ < end:
        message = f"the log ends at byte {size_}, where there were {end}"
        return Finding("log", FAIL, message, "restore a copy, or give up what is lost with `dag fsck --repair`")
    room = f", and {size(size_ - end)} of room for more" if size_ > end else ""
    return Finding("log", OK, size(end) + room)


def _readers(store: Store) -> Finding:
    readers = store.readers()
    late = [reader for reader in readers if reader.behind >= LONG]
    if not late:
        return Finding("readers", OK, f"{len(readers)} just now, none of them for long")
    told = ", ".join(f"process {reader.pid} is {reader.behind} commits behind" for reader in late[:_LISTED])
    more = f" and {len(late) - _LISTED} more" if len(late) > _LISTED else ""
    message = f"{told}{more}: what it still reads cannot be written over, so the index grows"
    return Finding("readers", WARN, message, "end it if it hangs; nothing is lost by that")


def _file_system(folder: Path) -> Iterator[Finding]:
    kind, is_network = kind_of(folder)
    if is_network:
        message = f"{kind} is shared between machines, and its locks and mapped files cannot be relied on"
        yield Finding("file system", WARN, message, "keep the store on a local disk")
    if not os.access(folder, os.W_OK):
        yield Finding("file system", WARN, f"{folder} is read-only here: you can look, not record", "check permissions")
    else:
        missing = lacks(folder)
        if missing:
            problem = f"{kind} has no {', '.join(missing)}"
            yield Finding("file system", FAIL, problem, "keep the store on a local disk (ext4, xfs, btrfs, apfs)")
        else:
            yield Finding("file system", OK, f"{kind or 'it'} syncs, locks and keeps sparse files")
    yield _space(folder)


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    state = FAIL if free < _TOO_LITTLE else WARN if free < _LITTLE else OK
    return Finding("free space", state, size(free), "" if state == OK else "free some space; `dag gc` may help")


# --- the experiments ---


def _experiments(app: App) -> Iterator[Finding]:
    from trainer.machine import environment, find_python, platform_name, resolve

    search_path = os.environ.get("PATH", os.defpath)
    charter = _charter(app)
    try:
        argv = resolve(charter.command, search_path) if charter else ()
    except DagError as error:
        yield Finding("command", FAIL, error.message, error.hint)
        argv = ()
    if argv and "/" not in argv[0]:
        yield Finding("command", FAIL, f"{argv[0]} is not on PATH", "install it, or mend `command` in dag.toml")
    elif charter:
        yield Finding("command", OK, f"{charter.command} starts {argv[0]}")
    python = find_python(argv, search_path)
    version = environment(python)["python"]
    if version == "unknown":
        yield Finding("experiments", FAIL, f"{python} does not answer", "install Python there, or mend PATH")
        return
    yield Finding("experiments", OK, f"get Python {version} at {python}{_beside(python)}")
    yield _torch(python, charter)
    yield _sandbox()
    yield Finding("device", OK, platform_name(os.environ.get("CUDA_VISIBLE_DEVICES")))


def _sandbox() -> Finding:
    from trainer.sandbox import probe
    from trainer.surroundings import REMEDY

    found = probe()
    if not found.remark:
        return Finding("sandbox", OK, f"{found.level} confines experiments")
    return Finding("sandbox", WARN, found.remark, REMEDY)


def _charter(app: App) -> Charter | None:
    try:
        return app.store(readonly=True).charter()
    except DagError:
        return None  # the finding about the store says it


def _beside(python: str) -> str:
    """Experiments had better not depend on what dagstore needs."""
    return " (the one dagstore itself lives in)" if os.path.realpath(python) == os.path.realpath(sys.executable) else ""


def _torch(python: str, charter: Charter | None) -> Finding:
    import subprocess

    try:
        asked = subprocess.run(
            [python, "-c", _ASK_TORCH],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=True,
            cwd=os.sep,
        )
        found = asked.stdout.strip() == b"True"
    except (OSError, subprocess.SubprocessError):
        found = False
    if found:
        return Finding("torch", OK, "can be imported there")
    wanted = charter is not None and "torch" in charter.preload
    hint = "install it there, or take it out of `preload` in dag.toml" if wanted else "install it there if you need it"
    return Finding("torch", FAIL if wanted else WARN, f"{python} cannot import it", hint)
