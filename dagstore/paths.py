"""Which paths a tree may hold: relative, NFC, inside the tree, and distinct on every file system."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from dagstore.errors import BadInput

CHARTER_PATH = "dag.toml"
LOST_PATH = ".dag-lost"
"""The only path of a tree that stands for code that is lost, see `lost`."""
MAX_PATH_BYTES = 1024
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029]")
RESERVED = frozenset({".dag", ".git"})
"""Names that belong to the tools around a tree and never enter it."""


def check_path(path: str) -> str:
    """`path` itself; `BadInput` if no tree may hold it."""
    problem = _problem(path)
    if problem:
        raise BadInput(f"path {path!r} {problem}", hint="rename it, or list it in .dagignore")
    return path


def _problem(path: str) -> str:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    parts = path.split("/")
    rules = (
        (not path or size > MAX_PATH_BYTES, f"is empty or longer than {MAX_PATH_BYTES} bytes"),
        (_UNSAFE.search(path) is not None, "holds a backslash or a control character"),
        (any(part in ("", ".", "..") for part in parts), "leaves the tree or is not in its shortest form"),
        (any(part.lower() in RESERVED for part in parts), "uses a name that is reserved (.dag, .git)"),
        (not path.isascii() and _normal("NFC", path) != path, "is not in Unicode form NFC"),
    )
    return next((problem for broken, problem in rules if broken), "")


def near(path: str, paths: Sequence[str]) -> list[str]:
    """Up to three paths for one that is not among them: what is below it, has its name, or is spelled like it."""
    import difflib

    name = path.rpartition("/")[2]
    below = [one for one in paths if one.startswith(f"{path.rstrip('/')}/")]
    found = below or [one for one in paths if one.rpartition("/")[2] == name]
    return found[:3] or difflib.get_close_matches(path, paths)


def fold(path: str) -> str:
    """The form under which a case- or form-insensitive file system would confuse paths."""
    if path.isascii():
        return path.lower()
    return _normal("NFC", _normal("NFD", path).casefold())


def _normal(form: Literal["NFC", "NFD"], path: str) -> str:
    import unicodedata  # few paths need it

    return unicodedata.normalize(form, path)


def check_distinct(paths: Iterable[str]) -> None:
    """`BadInput` if two paths collide when case or Unicode form is ignored, or one is the other's folder.

    Folders count too: `Data/a` and `data/b` cannot live side by side everywhere.
    """
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            other = folders.setdefault(fold(folder), folder)
            if other != folder:
                _collide(other, folder)
        key = fold(path)
        if key in files:
            _collide(files[key], path)
        files[key] = path
    for key in files.keys() & folders.keys():
        _collide(files[key], folders[key])


def _collide(one: str, other: str) -> None:
    raise BadInput(
        f"paths {one!r} and {other!r} are the same on some file systems",
        hint="rename one of them, or list it in .dagignore",
    )
