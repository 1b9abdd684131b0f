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

from trainer.launch import Command
from trainer.nursery import Nursery
from trainer.process import become_subreaper, execute

MODULES = ("torch",)
SCRIPT = "import time\nimport torch\nprint(time.monotonic(), flush=True)\n"
SECONDS_BAR, RATIO_BAR = Bar(50.0, absolute=True), Bar(25.0, at_least=True)
WHAT = "from slot free to the line behind `import torch`"


def rows(*, quick: bool) -> list[Row]:
    if importlib.util.find_spec("torch") is None:
        return [Row(WHAT, None, None, "ms", None, SECONDS_BAR, "torch is not installed: pip install torch")]
    with scratch() as folder:
        (folder / "train.py").write_text(SCRIPT, encoding="utf-8")
        become_subreaper()
        nursery = Nursery()
        works = {"warm": lambda: _warm(nursery, folder), "cold": lambda: _cold(folder)}
        try:
            nursery.start(_command(folder), MODULES)
            alternate(works, 2)
            seconds = alternate(works, 9 if quick else 31)
        finally:
            nursery.close()
    found = {name: value * 1e3 for name, value in medians(seconds).items()}
    worst = f"slowest {max(seconds['warm']) * 1e3:.0f} ms; reference: python SCRIPT"
    return [
        Row(WHAT, found["warm"], found["cold"], "ms", found["cold"] / found["warm"], SECONDS_BAR, worst),
        Row(f"{WHAT}, times faster", found["warm"], found["cold"], "ms", found["cold"] / found["warm"], RATIO_BAR),
    ]


def _command(folder: Path) -> Command:
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
    return Command((sys.executable, "train.py"), folder, env, 60.0, 0.0, 1 << 20, "bench")


def _warm(nursery: Nursery, folder: Path) -> float:
    command = _command(folder)
    free = time.monotonic()
    start = nursery.start(command, MODULES)
    ending = execute(command, launch=start)
    if start.facts != {"start": "warm"}:
        raise RuntimeError(f"not warm: {start.facts}")
    return float(ending.log) - free


def _cold(folder: Path) -> float:
    command = _command(folder)
    free = time.monotonic()
    done = subprocess.run(command.argv, cwd=folder, env=command.env, capture_output=True, check=True)
    return float(done.stdout) - free
