"""From "slot free" to the line behind `import torch` of a script, in the child of a warm parent and by `python SCRIPT`.

The script says by the monotonic clock, which all processes share, when it got there. What is measured begins with the
question whether a parent can serve, and so has the look at the environment and at the workspace in it.
"""

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from harness import Bar, Row, alternate, medians, scratch

from trainer.cell import Level
from trainer.launch import Command
from trainer.nursery import Nursery
from trainer.process import become_subreaper, execute
from trainer.sandbox import Sandbox, strongest
from trainer.view import View, narrow, tools

MODULES = ("torch",)
SCRIPT = "import time\nimport torch\nprint(time.monotonic(), flush=True)\n"
SECONDS_BAR, RATIO_BAR = Bar(50.0, absolute=True), Bar(25.0, at_least=True)
WHAT = "from slot free to the line behind `import torch`"


def rows(*, quick: bool) -> list[Row]:
    if importlib.util.find_spec("torch") is None:
        return [Row(WHAT, None, None, "ms", None, SECONDS_BAR, "torch is not installed: pip install torch")]
    sandbox = strongest((Level.BUBBLEWRAP, Level.NONE))
    cells = ("in no cell", "in a cell of bubblewrap")[: 1 if sandbox.level is Level.NONE else 2]
    return [row for cell in cells for row in _rows(cell, sandbox, 9 if quick else 31)]


def _rows(where: str, sandbox: Sandbox, rounds: int) -> list[Row]:
    with scratch() as folder:
        command = _command(folder, sandbox if where != "in no cell" else None)
        become_subreaper()
        nursery = Nursery()
        works = {"warm": lambda: _warm(nursery, command), "cold": lambda: _cold(command)}
        try:
            nursery.start(command, MODULES)
            alternate(works, 2)
            seconds = alternate(works, rounds)
        finally:
            nursery.close()
    found = {name: value * 1e3 for name, value in medians(seconds).items()}
    worst = f"slowest {max(seconds['warm']) * 1e3:.0f} ms; reference: python SCRIPT, in no cell"
    figures = found["warm"], found["cold"], "ms", found["cold"] / found["warm"]
    return [
        Row(f"{WHAT}, {where}", *figures, SECONDS_BAR, worst),
        Row(f"{WHAT}, {where}, times faster", *figures, RATIO_BAR),
    ]


def _command(folder: Path, sandbox: Sandbox | None) -> Command:
    work, home, tmp = (folder / name for name in ("work", "home", "tmp"))
    for path in (work, home, tmp):
        path.mkdir()
    (work / "train.py").write_text(SCRIPT, encoding="utf-8")
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
    readable = narrow(tools(env["PATH"], (sys.prefix, sys.base_prefix), ""), ())
    view = View(str(work), readable, (str(work),), str(tmp), str(home), "/nowhere")
    cell = sandbox.cell(view) if sandbox else None
    return Command((sys.executable, "train.py"), work, env, 60.0, 0.0, 1 << 20, "bench", cell=cell)


def _warm(nursery: Nursery, command: Command) -> float:
    free = time.monotonic()
    start = nursery.start(command, MODULES)
    ending = execute(command, launch=start)
    if start.facts != {"start": "warm"}:
        raise RuntimeError(f"not warm: {start.facts}")
    return float(ending.log) - free


def _cold(command: Command) -> float:
    free = time.monotonic()
    done = subprocess.run(command.argv, cwd=command.cwd, env=command.env, capture_output=True, check=True)
    return float(done.stdout) - free
