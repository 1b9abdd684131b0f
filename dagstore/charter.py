"""The charter: what an experiment is, how it is measured and which files it may touch, as text and as a value.

Its text is `dag.toml` in the tree. Durations and sizes are written as `quantities` reads them, globs as in `.gitignore`
(see `globs`), relative to the tree.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

from dagstore.errors import BadInput
from dagstore.globs import Glob, covers, parse_glob, parse_globs
from dagstore.model import Direction, Protocol, Tree
from dagstore.paths import CHARTER_PATH, fold
from dagstore.quantities import format_duration, format_size, parse_duration, parse_size

SANDBOXES = ("auto", "required", "none")
PRUNE = ("none", "median", "asha", "parent")
DEFAULT_BUDGET = 300.0

_ENDS = {"min": Direction.MINIMIZE, "max": Direction.MAXIMIZE}
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Charter:
    """The rules of one question. `budget` and `grace` in seconds, the limits in bytes.

    `file_limit` is the largest file that a tree may hold, `log_limit` how much of an experiment's output is kept,
    `memory` what all its processes may use together (0: as much as there is), `disk` what it may write.
    `data` are folders and files outside the tree that it may read, `environment` the variables that it gets besides
    the usual ones. `evaluate` is a command whose numbers count in place of its own, `hidden` what only that sees.
    `prune` is the rule that ends hopeless experiments, `curve` the step metric that it goes by (empty: the metric).
    """

    command: str
    metric: str
    direction: Direction
    budget: float = DEFAULT_BUDGET
    grace: float = 60.0
    editable: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()
    fingerprint: str = ""
    preload: tuple[str, ...] = ()
    sandbox: str = "auto"
    file_limit: int = 10 * 2**20
    log_limit: int = 64 * 2**20
    memory: int = 0
    disk: int = 32 * 2**30
    data: tuple[str, ...] = ()
    network: bool = False
    environment: tuple[str, ...] = ()
    evaluate: str = ""
    hidden: tuple[str, ...] = ()
    prune: str = "none"
    curve: str = ""

    @property
    def followed(self) -> tuple[str, Direction]:
        """The step metric by which experiments are compared while they run, and which of its values are better."""
        return parse_curve(self.curve or self.metric, self.direction)

    def is_locked(self, path: str) -> bool:
        """Whether `path` may not change; always true of the charter itself, in any spelling of its case."""
        return fold(path) == CHARTER_PATH or glob_match(self.locked, path) or self.is_hidden(path)

    def is_hidden(self, path: str) -> bool:
        """Whether `path` of the tree is there for the evaluation alone."""
        return glob_match(tuple(glob for glob in self.hidden if not is_outside(glob)), path)

    def is_editable(self, path: str) -> bool:
        """Whether `path` is meant to change. What is locked is not, whatever `editable` says."""
        return not self.is_locked(path) and glob_match(self.editable, path)


def make_protocol(charter: Charter, tree: Tree, fingerprint: str) -> Protocol:
    """What makes runs of `tree` comparable; `fingerprint` is the output of the command of that name.

    The charter's own entry is left out, since those of its fields that matter are in the protocol: a longer
    grace or another editable file does not part old numbers from new ones.
    """
    locked = (entry for entry in tree if fold(entry.path) != CHARTER_PATH and charter.is_locked(entry.path))
    return Protocol(
        command=charter.command,
        metric=charter.metric,
        direction=charter.direction,
        budget=charter.budget,
        locked=tuple(locked),
        fingerprint=fingerprint,
        evaluate=charter.evaluate,
    )


def isolated(charter: Charter) -> Charter:
    """The same for a measurement that others are to believe: within a sandbox, and begun in a fresh interpreter."""
    return replace(charter, sandbox="auto" if charter.sandbox == "none" else charter.sandbox, preload=())


def is_outside(path: str) -> bool:
    """Whether a path of `hidden` is none of the tree's globs: it is absolute or below the home folder."""
    return path.startswith(("/", "~"))


def parse_curve(text: str, direction: Direction) -> tuple[str, Direction]:
    """A step metric from `NAME`, which goes in that direction, `NAME:min` or `NAME:max`."""
    name, _, end = text.partition(":")
    return name, _ENDS.get(end, direction)


def glob_match(patterns: Sequence[str], path: str) -> bool:
    """Whether the last of `patterns` that names `path` or a folder above it is one that is not negated."""
    return _covers(tuple(patterns), path)


@lru_cache(maxsize=1 << 12)
def _covers(patterns: tuple[str, ...], path: str) -> bool:
    return covers(_compiled(patterns), path)


@lru_cache(maxsize=256)
def _compiled(patterns: tuple[str, ...]) -> tuple[Glob, ...]:
    return parse_globs(patterns)


# --- text to charter ---


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadInput(f"must be a text in quotes, not {_toml_type(value)}")
    if _CONTROL.search(value):
        raise BadInput("holds a line break, a NUL or another control character", hint="write it as one plain line")
    return value


def _filled(value: object) -> str:
    text = _text(value)
    if not text.strip():
        raise BadInput("is empty")
    return text


def _metric(value: object) -> str:
    name = _filled(value)
    if name != name.strip() or ":" in name:
        raise BadInput(f"{name!r} is no metric name", hint="a name has no colon and no space around it")
    return name


def _curve(value: object) -> str:
    text = _text(value)
    name, colon, end = text.partition(":")
    if text and (name != name.strip() or not name or (colon and end not in _ENDS)):
        raise BadInput(f"{text!r} is no step metric", hint='name one like "train_loss", or "train_loss:min"')
    return text


def _word(*allowed: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            close = _closest(str(value), allowed)
            raise BadInput(f"must be one of {', '.join(allowed)}, not {value!r}{close}")
        return value

    return read


def _direction(value: object) -> Direction:
    return Direction(_word(*Direction)(value))


def _list(read: Callable[[object], str]) -> Callable[[object], tuple[str, ...]]:
    def read_list(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise BadInput(f'must be a list of texts, such as ["train.py"], not {_toml_type(value)}')
        return tuple(read(item) for item in value)

    return read_list


def _glob(value: object) -> str:
    glob = _filled(value)
    path = glob.removeprefix("!")
    if path.startswith("/") or re.match("[A-Za-z]:", path):
        raise BadInput(f"glob {glob!r} is absolute", hint=f"globs are relative to the folder of {CHARTER_PATH}")
    if ".." in path.split("/"):
        raise BadInput(f"glob {glob!r} leaves the tree", hint=f"globs are relative to the folder of {CHARTER_PATH}")
    if path.startswith("./"):
        raise BadInput(f"glob {glob!r} can match nothing", hint="leave the ./ out")
    if parse_glob(glob) is None:
        raise BadInput(f"glob {glob!r} can match nothing", hint="put a backslash before a leading #")
    return glob


def _module(value: object) -> str:
    name = _filled(value)
    if not all(part.isidentifier() for part in name.split(".")):
        raise BadInput(f"{name!r} is no module name", hint='a module is named like "torch" or "torch.nn"')
    return name


def _place(value: object) -> str:
    """A path outside the tree, or relative to the project's folder."""
    path = _filled(value)
    if ".." in path.split("/"):
        raise BadInput(f"path {path!r} holds ..", hint="write it from the root, or from ~")
    if path.startswith("~") and path != "~" and not path.startswith("~/"):
        raise BadInput(f"path {path!r} is of another user's home", hint="write it from the root")
    return path


def _hidden(value: object) -> str:
    return _place(value) if is_outside(_filled(value)) else _glob(value)


def _variable(value: object) -> str:
    name = _filled(value)
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or name.startswith("DAG_"):
        raise BadInput(f"{name!r} is no variable that can be passed on", hint='name it like "WANDB_MODE"')
    return name


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"must be true or false, not {_toml_type(value)}")
    return value


def _limit(value: Any) -> int:
    return 0 if value == "none" else parse_size(value)


def _duration(value: Any) -> float:
    return parse_duration(value)


def _size(value: Any) -> int:
    return parse_size(value)


_READERS: dict[str, Callable[[object], object]] = {
    "command": _filled,
    "metric": _metric,
    "direction": _direction,
    "budget": _duration,
    "grace": _duration,
    "editable": _list(_glob),
    "locked": _list(_glob),
    "fingerprint": _text,
    "preload": _list(_module),
    "sandbox": _word(*SANDBOXES),
    "file_limit": _size,
    "log_limit": _size,
    "memory": _limit,
    "disk": _limit,
    "data": _list(_place),
    "network": _flag,
    "environment": _list(_variable),
    "evaluate": _text,
    "hidden": _list(_hidden),
    "prune": _word(*PRUNE),
    "curve": _curve,
}
_REQUIRED = ("command", "metric", "direction", "editable")


def parse_charter(text: str) -> Charter:
    """The charter that `text` says; `BadInput` names the line of what is wrong with it."""
    table = _load(text)
    values: dict[str, Any] = {}
    for key, value in table.items():
        where = _where(text, key)
        if key not in _READERS:
            close = _closest(key, tuple(_READERS))
            raise BadInput(f"{where}: unknown key {key!r}{close}", hint=f"the keys are {', '.join(_READERS)}")
        try:
            values[key] = _READERS[key](value)
        except BadInput as error:
            raise BadInput(f"{where}: {key}: {error.message}", hint=error.hint) from None
    missing = [key for key in _REQUIRED if key not in values]
    if missing:
        raise BadInput(f"{CHARTER_PATH} does not say {', '.join(missing)}", hint=f"add `{missing[0]} = …` to it")
    return Charter(**values)


def _load(text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise BadInput(f"{CHARTER_PATH} is nested too deeply", hint="it is a flat list of keys") from None
    except ValueError as error:
        # Besides syntax errors: an integer of thousands of digits.
        found = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error), re.DOTALL)
        where, what = (f"{CHARTER_PATH} line {found[2]}", found[1]) if found else (CHARTER_PATH, str(error))
        raise BadInput(f"{where}: {what}", hint="it must be valid TOML") from None


def _where(text: str, key: str) -> str:
    """`dag.toml line N`, where `key` or the table of that name first appears at the start of a line."""
    opening = re.compile(rf"[ \t]*\[*[ \t]*([\"']?){re.escape(key)}\1[ \t]*[].=]")
    for number, line in enumerate(text.split("\n"), 1):
        if opening.match(line):
            return f"{CHARTER_PATH} line {number}"
    return CHARTER_PATH


def _closest(word: str, known: Sequence[str]) -> str:
    import difflib

    # Abbreviations are closer to what they begin than to what they resemble.
    found = [name for name in known if word and name.startswith(word)] or difflib.get_close_matches(word, known, 1)
    return f"; did you mean {str(found[0])!r}?" if found else ""


def _toml_type(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


# --- charter to text ---


def _format_limit(size: int) -> str:
    return format_size(size) if size else "none"


_COMMENTS = {
    "command": "run in the materialised workspace",
    "metric": "the number that decides",
    "direction": '"minimize" or "maximize"',
    "budget": "wall clock of the experiment",
    "grace": "start-up, evaluation, shutdown on top of it",
    "editable": "globs; everything else may be added, nothing locked may change",
    "locked": "globs; the evaluator and its data, part of the protocol",
    "fingerprint": "a command whose output (data version, …) is part of the protocol",
    "preload": "modules of a warm parent",
    "sandbox": '"auto", "required" or "none"',
    "file_limit": "the largest file that a tree may hold",
    "log_limit": "how much of an experiment's output is kept",
    "memory": 'what all its processes may use together, such as "16GiB"',
    "disk": "what it may write",
    "data": "what it may read outside the tree",
    "network": "whether it may reach the network",
    "environment": "variables that it gets besides the usual ones",
    "evaluate": "a command whose numbers count in place of its own",
    "hidden": "globs or paths that only that command sees",
    "prune": 'ends hopeless experiments: "median", "asha" or "parent"; see `dag replay`',
    "curve": "the step metric that this goes by, if it is not the metric",
}
_WRITERS: dict[str, Callable[[Any], str]] = {
    "budget": format_duration,
    "grace": format_duration,
    "file_limit": format_size,
    "log_limit": format_size,
    "memory": _format_limit,
    "disk": _format_limit,
}


def render_charter(charter: Charter) -> str:
    """A commented `dag.toml` that `parse_charter` reads back as `charter`; `BadInput` if there is none."""
    lines = ["# The rules of this question; see `dag init --help`.\n"]
    for item in fields(charter):
        value = getattr(charter, item.name)
        writer = _WRITERS.get(item.name)
        assignment = f"{item.name} = {_quote(writer(value) if writer else value)}"
        # What is still at its default is shown, so that it can be found, but does not bind later versions.
        optional = item.name not in (*_REQUIRED, "budget", "grace", "locked") and value == item.default
        lines.append(f"{'# ' * optional}{assignment}".ljust(40) + f" # {_COMMENTS[item.name]}\n")
    text = "".join(lines)
    parse_charter(text)
    return text


def _quote(value: str | bool | tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_quote(item) for item in value)}]"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'
