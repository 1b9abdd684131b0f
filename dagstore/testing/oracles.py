"""Modules that two agents changed independently, and the tests that say whether a composition does what both wanted."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SECONDS = 10
"""How long a module and its test may take together."""

PASSED = "passed"

_CASE, _PART = "\n======== ", "\n-------- "
_TITLES = ("base", "a", "b", "test a", "test b")

_JUDGE = """
import json, os, signal, sys, types

def run(module, test):
    found = sys.modules["module"] = types.ModuleType("module")
    exec(compile(module, "module.py", "exec"), found.__dict__)
    exec(compile(test, "test.py", "exec"), found.__dict__)

def attempt(module, test):
    signal.alarm(SECONDS)
    # What the module prints must not get among the verdicts.
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    try:
        run(module, test)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:1000]
    return "passed"

def verdict(module, test):
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.write(into, attempt(module, test).encode(errors="replace"))
        os._exit(0)
    os.close(into)
    with open(out, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return said or f"ended with status {status}"

json.dump([verdict(*pair) for pair in json.load(sys.stdin)], sys.stdout)
"""


class Oracle(NamedTuple):
    """A base, two edits of it with a test each, and one module that passes both tests, if there can be one."""

    name: str
    base: str
    a: str
    b: str
    both: str | None
    test_a: str
    test_b: str


class Trial(NamedTuple):
    module: str
    test: str


def read_oracles(file: Path) -> Iterator[Oracle]:
    """The cases of a file: `======== NAME`, then each part under a line of its name."""
    _, *texts = file.read_text(encoding="utf-8").split(_CASE)
    for text in texts:
        name, *parts = text.split(_PART)
        by_title = {title: f"{body.rstrip()}\n" for title, body in (part.split("\n", 1) for part in parts)}
        base, a, b, test_a, test_b = (by_title[title] for title in _TITLES)
        yield Oracle(name.strip(), base, a, b, by_title.get("both"), test_a, test_b)


def verdicts(trials: Sequence[Trial], seconds: int = SECONDS) -> list[str]:
    """For each trial `PASSED`, or what went wrong: the module runs, then the test in its namespace.

    One isolated Python is started, and forks for every trial, so that a failure or a timeout stays the trial's own.
    """
    words = [sys.executable, "-I", "-c", f"SECONDS = {seconds}\n{_JUDGE}"]
    found = subprocess.run(words, input=json.dumps(trials), stdout=subprocess.PIPE, text=True, check=True)
    said: list[str] = json.loads(found.stdout)
    return said
