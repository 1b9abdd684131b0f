"""How a trainer spends its slots' time, how many experiments it gets through, and what killing it costs.

The reference for the first is the loop that autoresearch's program.md prescribes: commit, run, grep. It takes a
quarter of an hour: 60 experiments of 10 s, five minutes of chaos. `--quick` has 5 of 2 s, and no bar for the share.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from harness import DAG, Bar, Row, scratch

import dagstore
from dagstore import NodeId, Status

SHARE = Bar(0.99, at_least=True, absolute=True)
TRAINERS = 8
TTL = 1.0
CHARTER = """command = "{command}"
metric = "val_bpb"
direction = "minimize"
budget = "60s"
grace = "10s"
editable = ["train.py", "train.sh"]
"""
SLEEPER = "import time\nNUMBER = 0\ntime.sleep({seconds})\nprint('val_bpb:', 1 / (1 + NUMBER))\n"
LOOP = """
git init -q . && git add -A && git commit -q -m baseline
begun=$(date +%s%N); inside=0
for number in $(seq {count}); do
    sed -i "s/^NUMBER = .*/NUMBER = $number/" train.py
    git commit -q -am "experiment $number"
    start=$(date +%s%N)
    {python} -S train.py > run.log 2>&1
    inside=$((inside + $(date +%s%N) - start))
    value=$(grep '^val_bpb:' run.log)
    printf '%s\\t%s\\n' "$(git rev-parse --short HEAD)" "$value" >> results.tsv
done
echo $inside $(($(date +%s%N) - begun))
"""
TRAINER = """
import os, sys
import dagstore
from trainer.worker import Setting, Worker

with dagstore.open(sys.argv[1]) as store:
    setting = Setting(f"trainer {os.getpid()}", os.environ, ttl=float(sys.argv[2]))
    for run in Worker(store, setting).work(until_idle=True):
        pass
"""
GIT = {
    **os.environ,
    **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "bench"),
    **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "bench@localhost"),
}


class Length(NamedTuple):
    """How many sleeping experiments of how many seconds, how many that do nothing, and for how long trainers die."""

    sleepers: int
    seconds: float
    nothings: int
    chaos: float


QUICK, FULL = Length(5, 2.0, 200, 10.0), Length(60, 10.0, 1000, 300.0)


def rows(*, quick: bool) -> list[Row]:
    length = QUICK if quick else FULL
    return [*_shares(length), _nothings(length.nothings), _chaos(length.chaos)]


# --- the share of slot time inside experiments ---


def _shares(length: Length) -> list[Row]:
    with scratch() as folder, ThreadPoolExecutor() as pool:  # beside each other: both hardly do anything but wait
        asked = [pool.submit(work, folder / work.__name__, length) for work in (_our_share, _loop_share)]
        ours, loop = (one.result() for one in asked)
    what = f"{length.sleepers} experiments of {length.seconds:g} s, one slot"
    bar = SHARE if length.seconds >= FULL.seconds else None
    return [Row(f"share of slot time inside experiments, {what} / a shell loop", ours, loop, "", ours / loop, bar)]


def _our_share(folder: Path, length: Length) -> float:
    _project(folder, f"{sys.executable} -S train.py", SLEEPER.format(seconds=length.seconds))
    with dagstore.open(folder) as store:
        for number in range(1, length.sleepers + 1):
            text = SLEEPER.format(seconds=length.seconds).replace("NUMBER = 0", f"NUMBER = {number}")
            (folder / "train.py").write_text(text, encoding="utf-8")
            store.queue([store.record(folder, ["@seed"]).node])
    answer = _train(folder, "--slots", "1")
    if len(answer["runs"]) != length.sleepers:
        raise RuntimeError(f"{len(answer['runs'])} of {length.sleepers} experiments were measured")
    return float(answer["slot_time"]["share"])


def _loop_share(folder: Path, length: Length) -> float:
    folder.mkdir()
    (folder / "train.py").write_text(SLEEPER.format(seconds=length.seconds), encoding="utf-8")
    script = LOOP.format(count=length.sleepers, python=sys.executable)
    done = subprocess.run(["sh", "-c", script], cwd=folder, env=GIT, capture_output=True, text=True, check=True)
    inside, total = map(int, done.stdout.split())
    return inside / total


# --- experiments that do nothing ---


def _nothings(count: int) -> Row:
    with scratch() as folder:
        project = folder / "project"
        _project(project, "sh train.sh", "")
        with dagstore.open(project) as store:
            store.queue(["@seed"], repeat=count)
        began = time.perf_counter()
        answer = _train(project, "--slots", "2")
        seconds = time.perf_counter() - began
        bare = _bare(project, count // 10) * count
        seeds = Counter(run["seed"] for run in answer["runs"])
    if len(seeds) != count or set(seeds.values()) != {1}:
        raise RuntimeError(f"of {count} experiments {len(seeds)} were measured, {seeds.most_common(1)}")
    return Row(
        f"{count} experiments that do nothing, two slots / run one by one, bare",
        count / seconds,
        count / bare,
        "/s",
        bare / seconds,
        note="none lost, none doubled",
    )


def _bare(project: Path, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        subprocess.run(["sh", "train.sh"], cwd=project, capture_output=True, check=True)
    return (time.perf_counter() - began) / count


# --- trainers that are killed and started again ---


def _chaos(seconds: float) -> Row:
    chance, count, kills = random.Random(1), int(seconds * 4), 0
    with scratch() as folder:
        project = folder / "project"
        _project(project, "sh train.sh", "")
        with dagstore.open(project) as store:
            nodes = [_numbered(store, project, number) for number in range(count)]
            store.queue(nodes)
            trainers = [_trainer(project) for _ in range(TRAINERS)]
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(chance.uniform(0.05, 0.5))
                place = chance.randrange(TRAINERS)
                kills += trainers[place].poll() is None
                trainers[place].kill()
                trainers[place].wait()
                trainers[place] = _trainer(project)
            if any(trainer.wait(600) for trainer in trainers):
                raise RuntimeError("a trainer failed")
            lost = _account(store, nodes)
    return Row(
        f"{count} experiments, {TRAINERS} trainers killed at random for {seconds:g} s: measured exactly once",
        count,
        None,
        "",
        None,
        note=f"{kills} kills, {lost} runs were lost with them and are recorded as that",
    )


def _account(store: dagstore.Store, nodes: list[NodeId]) -> int:
    """How many runs were lost; raises unless every node was measured exactly once and nothing is left."""
    statuses = [Counter(run.status for run in store.runs(node)) for node in nodes]
    odd = [one for one in statuses if one[Status.OK] != 1 or set(one) - {Status.OK, Status.LOST}]
    if odd or store.tickets() or not store.fsck("full").clean:
        raise RuntimeError(f"not measured exactly once: {odd[:3]}, in line {len(store.tickets())}")
    return sum(one[Status.LOST] for one in statuses)


def _numbered(store: dagstore.Store, project: Path, number: int) -> NodeId:
    (project / "train.sh").write_text(f"sleep 0.1\necho val_bpb: {number}\n", encoding="utf-8")
    return store.record(project, ["@seed"]).node


def _trainer(project: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-P", "-c", TRAINER, str(project), str(TTL)], stdin=subprocess.DEVNULL)


# --- both ---


def _project(folder: Path, command: str, train: str) -> None:
    folder.mkdir()
    (folder / "dag.toml").write_text(CHARTER.format(command=command), encoding="utf-8")
    (folder / "train.py").write_text(train, encoding="utf-8")
    (folder / "train.sh").write_text("echo val_bpb: 1\n", encoding="utf-8")
    dagstore.init(folder)


def _train(folder: Path, *words: str) -> dict[str, Any]:
    called = [str(DAG), "-C", str(folder), "train", "--until-idle", "--json", *words]
    done = subprocess.run(called, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
