"""Which paths a `.gitignore`-style pattern names. The matching is pathspec's; here is how git puts patterns together.

A caller walks from the top and does not enter what is ignored, so a pattern must speak for the very path it names and
not, as pathspec has it, for all that lies below as well. Not as in git, where exotic:

- Refused, where git drops the pattern or reads it its own way: a `[` that is never closed, a backslash that ends a
  name, a class that holds a bracket, a slash, a backslash or a doubled `-`, `&`, `|`, `~` (so no `[[:alpha:]]`).
- Refused because a regular expression would take too long: what leaves more than `MAX_CHOICES` choices open, and
  ignore files over `MAX_IGNORE_BYTES`. A path or name that is too long for a tree or a disk is named by none.
- White space of any kind is cut from the end of a pattern; `?` and classes match one character, not one byte.
- In a pattern with a slash, a class such as `[!a]` also matches a slash; `***` is no `**`.
- Names that hold a line break may be missed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from dagstore.errors import BadInput
from dagstore.paths import MAX_PATH_BYTES

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

MAX_IGNORE_BYTES = 2**16
MAX_NAME = 255
MAX_CHOICES = 3
"""How many stars beyond the first in each name a pattern may hold: each multiplies the time by the length."""

# Possessive, so that no long line takes exponential time here either.
_SET = r"\[[!^]?+\]?+(?:(?!--|&&|\|\||~~)[^][/\\])*\]"
_LITERAL = re.compile(r"/?(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")
_PLAIN = re.compile(rf"(?:[^[\\]|\\[^/]|{_SET})*")


@dataclass(frozen=True, slots=True)
class Glob:
    """One pattern, `text` without its final slash; paths are relative to the folder that it was written for."""

    text: str
    negated: bool
    anchored: bool
    folders_only: bool
    literal: str = ""
    """The only name that it can match, where it has no wildcards; matching it needs no library."""

    def names(self, path: str, folder: bool) -> bool:
        """Whether the pattern names this very path (not: a folder above it)."""
        if (self.folders_only and not folder) or _too_long(path):
            return False
        name = path if self.anchored else path.rpartition("/")[2]
        if self.literal:
            return name == self.literal
        pattern = _compiled(self.text)
        found = pattern.match_file(name) if pattern else None
        # pathspec marks with a group that it matched a folder above.
        return found is not None and found.match.lastgroup is None


@lru_cache(maxsize=1 << 12)
def _compiled(text: str) -> "GitIgnoreSpecPattern | None":
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        return GitIgnoreSpecPattern(text)
    except re.error:
        # A class such as `[z-a]`, which matches nothing in git either.
        return None


def parse_glob(line: str) -> Glob | None:
    """The pattern that `line` holds; None for a comment or a blank line, `BadInput` for what is refused."""
    text = line if line.endswith("\\ ") else line.rstrip()
    body = text.removeprefix("!").removesuffix("/")
    if text.startswith("#") or not body.strip("/"):
        return None
    if not _PLAIN.fullmatch(body):
        raise BadInput(
            f"glob {text!r} holds an open or nested [ or a stray backslash",
            hint="put a backslash before a [ that is meant literally, and plain characters and ranges in a class",
        )
    if sum(_choices(name) for name in body.split("/")) > MAX_CHOICES:
        raise BadInput(f"glob {text!r} holds too many wildcards", hint="use fewer ** and fewer * in one name")
    literal = body.removeprefix("/") if _LITERAL.fullmatch(body) else ""
    return Glob(text.removesuffix("/"), text.startswith("!"), "/" in body, text.endswith("/"), literal)


def _too_long(path: str) -> bool:
    return len(path) > MAX_NAME and (len(path) > MAX_PATH_BYTES or max(map(len, path.split("/"))) > MAX_NAME)


def _choices(name: str) -> int:
    return max(name.count("*") - 1, 0)


def parse_globs(lines: Iterable[str]) -> tuple[Glob, ...]:
    """The patterns in `lines`, in their order."""
    parsed = (parse_glob(line) for line in lines)
    return tuple(glob for glob in parsed if glob is not None)


@lru_cache(maxsize=64)
def parse_ignore(data: bytes) -> tuple[Glob, ...]:
    """The patterns of an ignore file; `BadInput` names the line of what is refused."""
    if len(data) > MAX_IGNORE_BYTES:
        raise BadInput(f"is longer than {MAX_IGNORE_BYTES:,} bytes", hint="name folders instead of files")
    globs: list[Glob] = []
    # Names that are not UTF-8 can be ignored too: paths are decoded alike.
    lines = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            globs += parse_globs([line])
        except BadInput as error:
            raise BadInput(f"line {number}: {error.message}", hint=error.hint) from None
    return tuple(globs)


@lru_cache(maxsize=1 << 14)
def verdict(data: bytes, path: str, folder: bool) -> bool | None:
    """What the ignore file that holds `data` says of `path`; see `decide`."""
    return decide(parse_ignore(data), path, folder)


def decide(globs: tuple[Glob, ...], path: str, folder: bool) -> bool | None:
    """What the last pattern that names `path` says: True, False where it is negated, None where there is none."""
    for glob in reversed(globs):
        if glob.names(path, folder):
            return not glob.negated
    return None


def covers(globs: tuple[Glob, ...], path: str) -> bool:
    """Whether the last pattern that names the file `path` or a folder above it is one that is not negated."""
    parts = path.split("/")
    folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    for glob in reversed(globs):
        if glob.names(path, False) or any(glob.names(folder, True) for folder in folders):
            return not glob.negated
    return False
