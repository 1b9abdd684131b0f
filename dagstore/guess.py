"""A charter guessed from a project's files, with a sentence for every guess that says what it was made from."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dagstore.charter import DEFAULT_BUDGET, Charter
from dagstore.errors import BadInput
from dagstore.model import Direction
from dagstore.quantities import MAX_SECONDS, format_duration

EVALUATORS = (
    "evaluate.py",
    "eval.py",
    "evaluator.py",
    "evaluation.py",
    "score.py",
    "scorer.py",
    "judge.py",
    "grade.py",
)
"""What measures: run where the script itself prints no metric, and locked."""
PREPARERS = ("prepare.py", "prepare_data.py", "data_prep.py")
"""What makes the data: locked."""

_NOT_EDITED = (*PREPARERS, *EVALUATORS)
_SCRIPTS = ("train.py", "main.py", "run.py", "solution.py", "experiment.py", "model.py")
_NO_SCRIPT = re.compile(r"(test_.*|.*_test|conftest|setup|noxfile|__init__|__main__)\.py")
_TEXTS = ("program.md", "README.md", "README.rst", "README.txt", "README")
_SMALLER = ("bpb", "loss", "err", "error", "perplexity", "ppl", "rmse", "mae", "mse", "time", "latency", "seconds")
_LARGER = ("acc", "accuracy", "score", "reward", "f1", "auc", "bleu", "r2", "throughput", "per_sec", "per_second")

_SUMMARY_LINE = re.compile(r"""\s*print\(\s*[fF]?["'](?:\\n)?(?P<name>[A-Za-z_][\w./@-]*)\s*:\s*(?:[{%]|["']\s*,)""")
_SUMMARY_RULE = re.compile(r"""\s*print\(\s*[fF]?["'](?:\\n)?-{3,}""")
_WISH = re.compile(
    r"\b(low|small|high|larg|great|minimi[sz]|maximi[sz])[a-z]*\s+(?:the\s+)?[`*\"]*"
    rf"(\w+_\w+|{'|'.join((*_SMALLER, *_LARGER))})\b",
    re.IGNORECASE,
)
_BUDGET_LINE = re.compile(
    r"^[ \t]*(\w*(?:TIME_BUDGET|TIME_LIMIT|TRAIN_SECONDS|TRAINING_SECONDS|MAX_SECONDS)(?:_S|_SEC|_SECS|_SECONDS)?)"
    r"[ \t]*(?::[^=\n]+)?=[ \t]*([\d_.]{1,20}(?:[ \t]*\*[ \t]*[\d_.]{1,20})*)[ \t]*(?:#.*)?$",
    re.MULTILINE,
)
_BUDGET_TEXT = re.compile(r"\bbudget (?:of|is):? [`*]*(\d{1,6})[ -]?(second|minute|hour)s?\b", re.IGNORECASE)
_CACHE = re.compile(r"""~/\.cache/(\w[\w.-]*)|["'](?:~/)?\.cache["']\s*,\s*["'](\w[\w.-]*)["']""")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is run, and which scripts are the researcher's own."""

    command: str
    entry: str
    editable: tuple[str, ...]


def guess_charter(
    files: Mapping[str, str],
    *,
    command: str | None = None,
    metric: str | None = None,
    direction: Direction | None = None,
    budget: float | None = None,
    editable: Sequence[str] | None = None,
    locked: Sequence[str] | None = None,
) -> tuple[Charter, list[str]]:
    """A charter for a project, and one sentence for each thing that was guessed rather than said.

    `files` are the project's text files by path: scripts, `uv.lock` (its text may be left empty), `program.md`,
    README. What is passed by keyword is taken as said, and guides the other guesses. `BadInput` where nothing
    tells what to run or what to measure; its hint names the option that would.
    """
    said: list[str] = []
    plan = _plan(files, command, tuple(editable) if editable is not None else None, said.append)
    name = metric or _metric(files, plan.entry, said.append)
    towards = direction or _direction(files, name, said.append)
    seconds = budget if budget is not None else _budget(files, plan.entry, said.append)
    kept = tuple(locked) if locked is not None else _locked(files, plan.editable, said.append)
    data = _data(files, said.append)
    return Charter(plan.command, name, towards, budget=seconds, editable=plan.editable, locked=kept, data=data), said


# --- what to run and what to edit ---


def _plan(
    files: Mapping[str, str], command: str | None, editable: tuple[str, ...] | None, say: Callable[[str], None]
) -> _Plan:
    named = _script_of(command) if command is not None else ""
    script = named if named and named not in _NOT_EDITED else _script(files, editable or ())
    script = script or named
    if not script and (command is None or not editable):
        option = "--command" if command is None else "--editable"
        raise BadInput("no script was found that could be the experiment", hint=f"say what it is with {option}")
    entry = named or _entry(files, script)
    if command is None:
        runner = "uv run" if "uv.lock" in files else "python"
        command = f"{runner} {entry}"
        say(f"command {command}: {_why_command(entry, script, runner)}")
    if editable is None:
        editable = (script,)
        why = "the command runs it" if script == named else "it is the experiment's script"
        say(f"editable {script}: {why}")
    return _Plan(command, entry, editable)


def _script_of(command: str) -> str:
    """The script that a command line runs, as a path in the tree; empty if it names none."""
    words = [word.strip("\"'").removeprefix("./") for word in command.split()]
    scripts = [word for word in words if word.endswith(".py") and word[0] not in "-/" and ".." not in word]
    return next((word for word in scripts if word not in _NOT_EDITED), scripts[0] if scripts else "")


def _script(files: Mapping[str, str], editable: Sequence[str]) -> str:
    """The script to experiment on: one that was said, `train.py`, the only one, or one with a telling name."""
    own = [path for path in sorted(files) if _is_script(path)]
    candidates = [path for path in editable if path in own] or own
    if len(candidates) == 1:
        return candidates[0]
    return next((name for name in _SCRIPTS if name in candidates), "")


def _is_script(path: str) -> bool:
    top = path.endswith(".py") and "/" not in path
    return top and path not in _NOT_EDITED and not _NO_SCRIPT.fullmatch(path)


def _entry(files: Mapping[str, str], script: str) -> str:
    if _summary(files.get(script, "")):
        return script
    return next((name for name in EVALUATORS if _summary(files.get(name, ""))), script)


def _why_command(entry: str, script: str, runner: str) -> str:
    why = (
        f"{entry} is the experiment's script" if entry == script else f"{entry} prints what {script} does not: a metric"
    )
    return f"{why}, and there is a uv.lock" if runner == "uv run" else why


def _locked(files: Mapping[str, str], editable: Sequence[str], say: Callable[[str], None]) -> tuple[str, ...]:
    found = tuple(name for name in _NOT_EDITED if name in files and name not in editable)
    if found:
        say(f"locked {', '.join(found)}: by name, what prepares the data or measures the result")
    else:
        say("locked nothing: no file is named like an evaluator")
    return found


# --- what to measure, and towards what ---


def _metric(files: Mapping[str, str], entry: str, say: Callable[[str], None]) -> str:
    printed = _summary(files.get(entry, ""))
    if printed:
        say(f"metric {printed[0]}: the first line of the summary that {entry} prints")
        return printed[0]
    for path, _towards, name in _wishes(files):
        say(f"metric {name}: {path} asks for it")
        return name
    where = f"in what {entry} prints" if entry else "anywhere"
    raise BadInput(f"no metric was found {where}", hint="name it with --metric, as in --metric val_loss")


def _summary(source: str) -> list[str]:
    """The names in the last block of `print(f"name: {value}")` lines, or in the one under a printed `---`."""
    block: list[str] = []
    closed = ruled = False
    for line in source.splitlines():
        found = _SUMMARY_LINE.match(line)
        if _SUMMARY_RULE.match(line):
            block, closed, ruled = [], False, True
        elif found:
            if closed and ruled:
                break
            block = [*([] if closed else block), found["name"]]
            closed = False
        else:
            closed = bool(block)
    return block


def _wishes(files: Mapping[str, str]) -> Iterable[tuple[str, Direction, str]]:
    """Where a text asks for the lowest or highest of something: the file, the direction and the name."""
    for path in _TEXTS:
        for found in _WISH.finditer(files.get(path, "")):
            smaller = found[1].lower() in ("low", "small") or found[1].lower().startswith("mini")
            yield path, Direction.MINIMIZE if smaller else Direction.MAXIMIZE, found[2]


def _direction(files: Mapping[str, str], metric: str, say: Callable[[str], None]) -> Direction:
    word, direction = _telling_word(metric.lower())
    if word:
        better = "lower" if direction is Direction.MINIMIZE else "higher"
        say(f"direction {direction}: {word!r} in {metric} means that {better} is better")
        return direction
    for path, direction, name in _wishes(files):
        if name == metric:
            say(f"direction {direction}: {path} asks for it")
            return direction
    say(f"direction minimize: nothing tells whether lower or higher {metric} is better, so check this one")
    return Direction.MINIMIZE


def _telling_word(metric: str) -> tuple[str, Direction]:
    """The last word in a metric's name that tells its direction, as in `score_error`; empty if there is none."""
    words = [(word, Direction.MINIMIZE) for word in _SMALLER] + [(word, Direction.MAXIMIZE) for word in _LARGER]
    best, telling = -1, ("", Direction.MINIMIZE)
    for word, direction in words:
        found = re.search(rf"(?<![a-z]){word}s?(?![a-z])", metric)
        if found and found.end() > best:
            best, telling = found.end(), (word, direction)
    return telling


# --- what it reads ---


def _data(files: Mapping[str, str], say: Callable[[str], None]) -> tuple[str, ...]:
    """Folders below ~/.cache that scripts name: a sandbox would hide them."""
    scripts = [path for path in sorted(files) if path.endswith(".py")]
    found = {f"~/.cache/{match[1] or match[2]}": path for path in scripts for match in _CACHE.finditer(files[path])}
    for folder, path in found.items():
        say(f"data {folder}: {path} names it")
    return tuple(sorted(found))


# --- how long ---


def _budget(files: Mapping[str, str], entry: str, say: Callable[[str], None]) -> float:
    scripts = [entry, *_NOT_EDITED, *sorted(path for path in files if path.endswith(".py"))]
    for path in scripts:
        found = _BUDGET_LINE.search(files.get(path, ""))
        seconds = _product(found[2]) if found else 0.0
        if found and 0 < seconds <= MAX_SECONDS:
            say(f"budget {format_duration(seconds)}: {found[1]} = {found[2]} in {path}")
            return seconds
    for path in _TEXTS:
        text = _BUDGET_TEXT.search(files.get(path, ""))
        if text and int(text[1]) > 0:
            seconds = float(int(text[1]) * _SECONDS[text[2].lower()])
            say(f"budget {format_duration(seconds)}: {text[0]!r} in {path}")
            return seconds
    say(f"budget {format_duration(DEFAULT_BUDGET)}: nothing says how long an experiment takes")
    return DEFAULT_BUDGET


def _product(text: str) -> float:
    try:
        factors = [float(factor) for factor in text.split("*")]
    except ValueError:
        return 0.0
    product = 1.0
    for factor in factors:
        product *= factor
    return product
