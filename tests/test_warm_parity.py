"""The same scripts side by side: by a plain `python SCRIPT` and in the child of a warm parent. Nobody can tell."""

import itertools
import re
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from trainer.launch import Command
from trainer.nursery import Nursery
from trainer.process import become_subreaper, execute

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="warm parents are for Linux")

PRELOAD = ("numpy", "asyncio", "concurrent.futures", "logging", "multiprocessing.pool", "tempfile", "unittest.mock")
PLAIN = {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
MASKS = ((rb"0x[0-9a-f]{6,}", b"0x"), (rb"(pid|Thread-\d+ \(\w+\)|ident|started)[= ]\d+", rb"\1"))
NUMBERS = itertools.count()

SCRIPTS = dict(
    part.split("\n", 1) for part in (Path(__file__).parent / "data" / "scripts.txt").read_text().split("--- ")[1:]
)

FILES = {
    "null byte": b"x = 1\0",
    "coding cookie": b"# -*- coding: latin-1 -*-\nprint('\xe9')\n",
    "byte order mark": b"\xef\xbb\xbfprint('\xc3\xa9')\n",
    "wrong cookie": b"\xef\xbb\xbf# coding: latin-1\nprint(1)\n",
    "unknown cookie": b"# coding: nope\nprint(1)\n",
    "not utf-8": b"print('\xe9')\n",
    "windows lines": b"x = 1\r\nprint('a')\r\nraise ValueError(x)\r\n",
    "no last newline": b"print(1)\nraise ValueError",
    "form feed": b"\x0cprint(1)\n",
    "future": b"from __future__ import annotations\ndef f(x: nope): pass\nprint(f.__annotations__)",
    "long line": b"x = '" + b"a" * 100_000 + b"'\nprint(len(x))",
}

AFTER_IMPORTS = {"segfault with faulthandler", "warning filters", "status", "modules"}
"""Scripts that see which modules are loaded; they load the same ones first."""

VARIABLES = {
    "buffered streams": {"PYTHONUNBUFFERED": ""},
    "other encoding": {"PYTHONIOENCODING": "latin-1:replace"},
    "no utf-8 mode": {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    "locale": {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"},
    "hash seed": {"PYTHONHASHSEED": "7"},
    "optimised": {"PYTHONOPTIMIZE": "1"},
    "safe path": {"PYTHONSAFEPATH": "1"},
    "warnings": {"PYTHONWARNINGS": "error::DeprecationWarning"},
    "no bytecode": {"PYTHONDONTWRITEBYTECODE": "1"},
    "faulthandler": {"PYTHONFAULTHANDLER": "1"},
    "no user site": {"PYTHONNOUSERSITE": "1", "HOME": "/tmp"},
}
VARIED = """
import sys, os, time, locale, warnings
print(sys.flags, sys.path, sys.warnoptions, sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering)
print(list(os.environ.items()), time.tzname, locale.getpreferredencoding(), sys.getfilesystemencoding())
print(list({'a', 'b', 'c', 'd', 'e'}) if os.environ.get('PYTHONHASHSEED') else '', __debug__)
sys.stdout.write('é')
sys.stderr.write('ü')
try: warnings.warn('d', DeprecationWarning)
except DeprecationWarning as error: print('raised', error)
print('end')
assert not os.environ.get('DAG_FAIL')
"""


class Bench:
    """One workspace, made anew for every start, so that both starts see the same names."""

    def __init__(self, root, nursery):
        self.work = root / "work"
        self._nursery = nursery

    def cold(self, *asked, **changes):
        return self._seen(execute(self._command(*asked, **changes)))

    def warm(self, *asked, preload=PRELOAD, **changes):
        command = self._command(*asked, **changes)
        self._nursery.start(command, preload)
        start = self._nursery.start(command, preload)
        seen = self._seen(execute(command, launch=start))
        assert start.facts == {"start": "warm"}
        return seen

    def _command(self, code, args=(), env=None, python=sys.executable, script="train.py"):
        shutil.rmtree(self.work, ignore_errors=True)
        (self.work / "pack").mkdir(parents=True)
        (self.work / "pack" / "__init__.py").touch()
        (self.work / "pack" / "inner.py").write_text("NAME = __name__\n")
        (self.work / "helper.py").write_text("VALUE = 42\n")
        (self.work / "link.py").symlink_to("train.py")
        (self.work / "pack" / "link.py").symlink_to(self.work / "train.py")
        code = textwrap.dedent(code).encode() if isinstance(code, str) else code
        (self.work / "train.py").write_bytes(code)
        variables = {name: value for name, value in {**PLAIN, "DAG_X": "1", **(env or {})}.items() if value}
        return Command((python, script, *args), self.work, variables, 30.0, 0.0, 1 << 20, f"parity-{next(NUMBERS)}")

    def _seen(self, ending):
        """All that an experiment leaves: its output, how it ended, its files."""
        files = {
            str(path.relative_to(self.work)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in self.work.rglob("*")
            if "__pycache__" not in path.parts and not path.name.startswith("tmp")
        }
        log = ending.log
        for pattern, mask in MASKS:
            log = re.sub(pattern, mask, log)
        log = re.sub(rb"(\./)?tmp\w{8}|parity-\d+", b"tmp", log)
        return {
            "log": log.decode("utf-8", "backslashreplace").splitlines(),
            "exit": (ending.exit_code, ending.signal, ending.timed_out, ending.failure, ending.strays),
            "files": files,
        }


@pytest.fixture(scope="module")
def nursery():
    assert become_subreaper()
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def bench(tmp_path, nursery):
    return Bench(tmp_path, nursery)


@pytest.mark.parametrize("name", list(SCRIPTS))
def test_a_script_does_the_same(name, bench):
    imports = f"import {', '.join(PRELOAD)}\n" if name in AFTER_IMPORTS else ""
    code = imports + SCRIPTS[name]
    assert bench.warm(code, ["a", "--b=1", ""]) == bench.cold(code, ["a", "--b=1", ""])


@pytest.mark.parametrize("name", list(FILES))
def test_a_file_is_read_the_same(name, bench):
    assert bench.warm(FILES[name]) == bench.cold(FILES[name])


@pytest.mark.parametrize("name", list(VARIABLES))
def test_variables_mean_the_same(name, bench):
    asked = {"env": VARIABLES[name]}
    assert bench.warm(VARIED, **asked) == bench.cold(VARIED, **asked)


@pytest.mark.parametrize("script", ["./train.py", "pack/../train.py", "link.py", "pack/link.py"])
def test_scripts_by_other_names(script, bench):
    code = "import sys; print(sys.argv, sys.path[0], __file__); 1/0"
    assert bench.warm(code, script=script) == bench.cold(code, script=script)
