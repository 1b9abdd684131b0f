"""A proposer that needs no model: it moves numeric constants at module level of editable Python files.

Candidates are `NAME = <literal>` with a number, a product of numbers, a power of two, a short tuple or list of
these, or (for ALL_CAPS names) a boolean. Names that look like a seed, a time budget, a version or a log
setting are left alone, since changing them is no experiment.

libcst finds the constants; edits are splices of bytes at the positions that it reports, so every other byte stays as
it is. Limits: a file must parse under the interpreter that runs the tuner, be UTF-8 or Latin-1, and be at most 1 MiB;
one that libcst does not give back as it was (a form feed at its start, say) has no candidates.
"""

import ast
import io
import math
import random
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from agent.proposer import ProposalFailed, Task

if TYPE_CHECKING:
    import libcst

TRIES = 200
MAX_FILE_BYTES = 1 << 20
MAX_ELEMENTS = 8
PAIR_SHARE = 0.2
FACTORS = (1.5, 2.0, 3.0)
SMALL = 32
"""Above this, one more or one less is within the noise of any metric."""

_NUMBER = r"(?:0[xXoObB][0-9a-fA-F_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)"
_LITERAL = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<base>2 *\*\* *)(?P<power>[0-9]+)|(?P<number>{_NUMBER}))"
    rf"(?P<rest>(?: *\* *{_NUMBER}(?: *\*\* *{_NUMBER})?)*)"
)
_MAX_LITERAL = 40
_BOOLEANS = {"True": "False", "False": "True"}
_ENCODINGS = frozenset({"utf-8", "utf-8-sig", "iso-8859-1"})
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NOT_A_KNOB = frozenset(
    {"rng", "budget", "budgets", "deadline", "timeout", "time", "seconds", "minutes", "hours", "duration"}
    | {"version", "log", "logging", "verbose", "debug", "print", "port"}
)
_FRACTION = re.compile("frac|ratio|prob|drop|beta|momentum", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Constant:
    """One literal of a source: what it is called (`LR`, `BETAS[0]`), its text, and where (byte offsets)."""

    name: str
    text: str
    start: int
    end: int

    @property
    def is_preferred(self) -> bool:
        """Whether its name is in capitals, the custom for what is meant to be tuned."""
        return self.name.isupper()


@dataclass(frozen=True, slots=True)
class Change:
    """One constant of the file at `path`, and the text it is to become."""

    path: str
    constant: Constant
    text: str

    def __str__(self) -> str:
        return f"{self.constant.name} {self.constant.text} -> {self.text}"


# Finding constants


def candidates(source: bytes) -> list[Constant]:
    """The constants of a Python source that are worth moving, in order of appearance.

    Empty for a source that cannot be read: a syntax error, nesting too deep, an encoding other than UTF-8 or Latin-1.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        if encoding not in _ENCODINGS:
            return []
        text = source.decode(encoding)
        _check(text)
        assigned = list(_assigned(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = (_constant(name, text, start, end, encoding) for name, start, end in assigned)
    return [constant for constant in found if constant and moves(constant)]


def _check(text: str) -> None:
    """Raises on what does not parse. libcst alone would end the process on source that nests some thousand deep."""
    # The parser warns about doubtful escapes in the experiment's code, which is none of our business.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ast.parse(text)


def _assigned(text: str) -> Iterator[tuple[str, int, int]]:
    """Names, and where in the text (in UTF-8 bytes) the expressions stand that are assigned to them at module level.

    Elements of short sequences come one by one.
    """
    import libcst
    from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper

    try:
        module = libcst.parse_module(text)
    except libcst.ParserSyntaxError:  # syntax that this libcst does not know yet
        return
    if not text.startswith(module.code.rstrip()):  # else the positions are not those of the text
        return
    spans = MetadataWrapper(module, unsafe_skip_copy=True).resolve(ByteSpanPositionProvider)
    for line in module.body:
        for statement in line.body if isinstance(line, libcst.SimpleStatementLine) else ():
            for name, node in _targets(statement):
                span = spans[node]
                yield name, span.start, span.start + span.length


def _targets(statement: "libcst.BaseSmallStatement") -> Iterator[tuple[str, "libcst.BaseExpression"]]:
    import libcst

    match statement:
        case libcst.Assign(targets=[libcst.AssignTarget(target=libcst.Name(value=name))], value=value):
            pass
        case libcst.AnnAssign(target=libcst.Name(value=name), value=libcst.BaseExpression() as value):
            pass
        case _:
            return
    if not _is_knob(name):
        return
    if not isinstance(value, libcst.Tuple | libcst.List):
        yield name, value
    elif len(value.elements) <= MAX_ELEMENTS:
        yield from ((f"{name}[{index}]", element.value) for index, element in enumerate(value.elements))


def _is_knob(name: str) -> bool:
    lowered = name.lower()
    if "seed" in lowered or "random" in lowered or lowered.startswith("__"):
        return False
    return not _NOT_A_KNOB.intersection(word.lower() for word in _WORDS.findall(name))


def _constant(name: str, text: str, start: int, end: int, encoding: str) -> Constant | None:
    if end - start > _MAX_LITERAL:
        return None
    data = text.encode()
    while data[start:end].startswith(b"("):
        start, end = start + 1, end - 1
        start, end = end - len(data[start:end].lstrip()), start + len(data[start:end].rstrip())
    before, literal = data[:start].decode(), data[start:end].decode()
    if not _is_literal(name, literal):
        return None
    offset = len(before.encode(encoding))
    return Constant(name, literal, offset, offset + len(literal))


def _is_literal(name: str, text: str) -> bool:
    return (text in _BOOLEANS and name.isupper()) or _LITERAL.fullmatch(text) is not None


# Moving one


def moves(constant: Constant) -> list[str]:
    """The texts that the literal may become, each once, in the notation it has; empty if it has no sensible move.

    Floats are scaled; those in (0, 1) stay there. Whole numbers are doubled, halved, and stepped by one while small;
    1 and above stay there. A power of two moves its exponent, a product its first factor.
    """
    if constant.text in _BOOLEANS:
        return [_BOOLEANS[constant.text]]
    match = _LITERAL.fullmatch(constant.text)
    if match is None or constant.text == "-1":  # -1 says "none" or "the last one" far more often than minus one
        return []
    if match["power"]:
        moved = _steps(match["power"])
    elif _is_whole(match["number"]):
        moved = _whole_moves(match["number"])
    else:
        moved = _float_moves(match["number"], bounded=_FRACTION.search(constant.name) is not None)
    head = f"{match['sign']}{match['base'] or ''}"
    return [f"{head}{text}{match['rest']}" for text in moved]


def _is_whole(text: str) -> bool:
    return text[:2].lower() in ("0x", "0o", "0b") or text.replace("_", "").isdigit()


def _steps(exponent: str) -> list[str]:
    value = int(exponent)
    return [str(moved) for moved in (value + 1, value - 1) if moved >= 0]


def _whole_moves(text: str) -> list[str]:
    value = int(text, 0)
    if value == 0:
        return [_whole_text(1, text)]
    wanted = [2 * value, value // 2]
    if value <= SMALL:
        wanted += [value + 1, value - 1]
    return [_whole_text(moved, text) for moved in dict.fromkeys(wanted) if moved >= 1]


def _whole_text(value: int, like: str) -> str:
    group = "_" if "_" in like else ""
    prefix = like[:2]
    if not prefix[1:].isalpha():
        return f"{value:{group}d}"
    digits = f"{value:{group}{prefix[1].lower()}}"
    return prefix + (digits.upper() if any(digit in "ABCDEF" for digit in like[2:]) else digits)


def _float_moves(text: str, *, bounded: bool) -> list[str]:
    value = float(text)
    if not math.isfinite(value):
        return []
    upper = 1.0 if value < 1 or (value == 1 and bounded) else math.inf
    texts = dict.fromkeys(_float_text(moved, text) for moved in _float_targets(value))
    return [moved for moved in texts if 0 < float(moved) < upper and float(moved) not in (value, math.inf)]


def _float_targets(value: float) -> list[Decimal]:
    if value == 0:
        return [Decimal("0.1"), Decimal("0.01")]
    # From 2/3 on the smallest factor leaves [0, 1], so the distance to 1 is moved instead: what counts in a beta.
    if 2 / 3 <= value < 1:
        return [1 - _rounded(gap, 2) for gap in _scaled(1 - value)]
    return [_rounded(moved, 3) for moved in _scaled(value)]


def _scaled(value: float) -> list[float]:
    return [*(value * factor for factor in FACTORS), *(value / factor for factor in FACTORS)]


def _rounded(value: float, digits: int) -> Decimal:
    return Decimal(f"{value:.{digits - 1}e}")


def _float_text(value: Decimal, like: str) -> str:
    """`value` written as `like` is: with an exponent, with underscores, with a bare leading point."""
    if not value.is_finite():
        return "inf"
    if "e" in like.lower():
        return _scientific_text(value, like)
    plain = f"{value.normalize():,f}".replace(",", "_" if "_" in like else "")
    if "." not in plain:
        return plain + ".0"
    return plain[1:] if like.startswith(".") and plain.startswith("0.") else plain


def _scientific_text(value: Decimal, like: str) -> str:
    mark = "E" if "E" in like else "e"
    mantissa, exponent = f"{value.normalize():e}".split("e")
    old_mantissa, old_exponent = like.split(mark)
    if "." in old_mantissa and "." not in mantissa:
        mantissa += ".0"
    sign = "-" if exponent.startswith("-") else "+" if old_exponent.startswith("+") else ""
    return f"{mantissa}{mark}{sign}{exponent.lstrip('+-').zfill(len(old_exponent.lstrip('+-')))}"


def rewrite(source: bytes, changes: Iterable[tuple[Constant, str]]) -> bytes:
    """`source` with each constant replaced by its new text and every other byte as it was.

    Raises `ValueError` if a constant is not where it says: it was found in other bytes.
    """
    for constant, text in sorted(changes, key=lambda change: change[0].start, reverse=True):
        if source[constant.start : constant.end] != constant.text.encode():
            raise ValueError(f"{constant.name} is not at byte {constant.start}")
        source = source[: constant.start] + text.encode() + source[constant.end :]
    return source


# Choosing which


def plans(changes: Iterable[Change], rng: random.Random, limit: int = TRIES) -> Iterator[tuple[Change, ...]]:
    """Sets of changes to try, none twice: mostly single ones, some pairs, names in capitals first.

    Every single change comes up; pairs are a sample when there are far more than `limit` of them.
    """
    everything = list(changes)
    preferred = [change for change in everything if change.constant.is_preferred]
    others = [change for change in everything if not change.constant.is_preferred]
    singles = iter([*_shuffled(preferred, rng), *_shuffled(others, rng)])
    pairs = _pairs(preferred or others, rng, limit)
    while True:
        order = (pairs, singles) if rng.random() < PAIR_SHARE else (singles, pairs)
        plan = next(order[0], None) or next(order[1], None)
        if plan is None:
            return
        yield plan


def _shuffled(changes: list[Change], rng: random.Random) -> list[tuple[Change, ...]]:
    return [(change,) for change in rng.sample(changes, len(changes))]


def _pairs(changes: list[Change], rng: random.Random, limit: int) -> Iterator[tuple[Change, ...]]:
    count = len(changes)
    squares = count * count
    # Fewer than half of the squares are pairs of distinct constants in order; a range costs nothing to sample from.
    for square in rng.sample(range(squares), min(squares, 4 * limit)):
        one, other = changes[square // count], changes[square % count]
        if (one.path, one.constant.start) < (other.path, other.constant.start):
            yield one, other


# Touching the workspace


class Tuner:
    """Proposes one or two moved constants that were never tried on this primary.

    Deterministic for a given workspace, `task.rng` and `task.known`. Leaves the workspace as it was when it
    fails. Asks `task.known()` at most `tries` times.
    """

    name = "tuner"

    def __init__(self, tries: int = TRIES) -> None:
        self._tries = tries

    def propose(self, task: Task) -> str:
        """What was moved, as `LR 0.001 -> 0.002, DEPTH 4 -> 5`.

        Raises `ProposalFailed` when there is nothing to move or every move is known; `OSError` if the workspace
        cannot be written.
        """
        sources = _read_sources(task)
        changes = _all_changes(sources)
        tried = 0
        for plan in islice(plans(changes, task.rng, self._tries), self._tries):
            if task.stop():
                raise ProposalFailed("asked to stop")
            if _keep(task, sources, plan):
                return _reason(plan, named=len({change.path for change in changes}) > 1)
            tried += 1
        raise ProposalFailed(f"nothing left to try: all of {tried} changes to constants are known")


def _all_changes(sources: Mapping[str, bytes]) -> list[Change]:
    changes = [
        Change(path, constant, text)
        for path, source in sources.items()
        for constant in candidates(source)
        for text in moves(constant)
    ]
    if not changes:
        raise ProposalFailed(f"no constant that could be moved in {', '.join(sources)}")
    return changes


def _reason(plan: Iterable[Change], *, named: bool) -> str:
    return ", ".join(f"{change.path}: {change}" if named else str(change) for change in plan)


def _read_sources(task: Task) -> dict[str, bytes]:
    paths = sorted(path for path in set(task.editable) if path.endswith(".py"))
    if not paths:
        raise ProposalFailed("no editable Python file")
    found = ((path, _read(task.workspace, path)) for path in paths)
    sources = {path: source for path, source in found if source is not None}
    if not sources:
        raise ProposalFailed(f"no readable Python file among {', '.join(paths)}")
    return sources


def _read(workspace: Path, path: str) -> bytes | None:
    """The bytes of a regular file of the workspace; None for what is missing, too large, or reached by a link."""
    target = workspace / path
    try:
        # A link may lead out of the workspace, and what it leads to would be edited.
        if target.resolve() != workspace.resolve() / path or not target.is_file():
            return None
        return target.read_bytes() if target.stat().st_size <= MAX_FILE_BYTES else None
    except OSError:
        return None


def _keep(task: Task, sources: Mapping[str, bytes], plan: Iterable[Change]) -> bool:
    """Whether the plan gives a new node; it is in the workspace then, and out of it otherwise."""
    by_path: dict[str, list[tuple[Constant, str]]] = {}
    for change in plan:
        by_path.setdefault(change.path, []).append((change.constant, change.text))
    new = False
    try:
        for path, edits in by_path.items():
            (task.workspace / path).write_bytes(rewrite(sources[path], edits))
        new = not task.known()
    finally:
        if not new:
            for path in by_path:
                (task.workspace / path).write_bytes(sources[path])
    return new
