"""Performs an order on the node where this process runs, as a trainer performs a ticket there."""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from dagstore import Charter
from dagstore.base import charter_of
from dagstore.charter import isolated
from dagstore.errors import BadInput
from dagstore.materialise import materialise
from dagstore.model import Tree
from dagstore.paths import CHARTER_PATH
from dagstore.platforms import shared_by
from trainer.engines.box import Box
from trainer.engines.host import node_folder
from trainer.engines.order import Order
from trainer.job import Job
from trainer.machine import platform_name, processor_name
from trainer.output import Output
from trainer.process import become_subreaper
from trainer.pruner import Pruner
from trainer.report import report_of
from trainer.sandbox import probe
from trainer.scratch import Desk
from trainer.trial import Trials

FLUSH = 0.25
"""Seconds between two looks at what the experiment wrote."""


def perform(box: Box, environ: Mapping[str, str], stop: threading.Event) -> None:
    """Run the experiment in the box, in a scratch folder of this node, and put the result there.

    `environ` is this process's environment, in which the cluster says which devices are its own. `stop` ends the
    experiment early; that is a result, too.
    """
    become_subreaper()
    order = box.order()
    with Desk(node_folder()) as desk:
        job = _job(order, box, desk.folder / "job")
        platform = _platform(order, environ)
        trials = Trials(order.root, environ, probe(), Pruner(None, platform), order.told)
        with closing(trials), _told(box, job.charter) as output:
            outcome = trials.run(job, stop, output.add)
        runner = f"{order.agent}@{socket.gethostname()}:{os.getpid()}"
        box.deliver(report_of(job, outcome, platform, runner))


def _job(order: Order, box: Box, home: Path) -> Job:
    materialise(order.tree, box.file, home / "work")
    (home / "out").mkdir()
    # A parent that loads modules for one experiment alone would only take its memory.
    charter = replace(_charter(order.tree, box), preload=())
    charter = isolated(charter) if order.isolation else charter
    return Job(order.node, charter, order.tree, order.folder, home, order.taken, order.mark)


def _charter(tree: Tree, box: Box) -> Charter:
    for entry in tree:
        if entry.path == CHARTER_PATH:
            return charter_of(box.file(entry.blob))
    raise BadInput(f"the tree of an order has no {CHARTER_PATH}")


def _platform(order: Order, environ: Mapping[str, str]) -> str:
    """What runs are ranked by: the devices that the cluster gives to this process, or its cores."""
    name = platform_name(environ.get("CUDA_VISIBLE_DEVICES"))
    if name.startswith("cpu:"):
        return processor_name(order.cpus) if order.cpus else name
    return shared_by(name, order.sharers)


@contextmanager
def _told(box: Box, charter: Charter) -> Iterator[Output]:
    """Meanwhile what is written there can be read in the box."""
    output, over = Output(box.folder, charter.log_limit), threading.Event()

    def tell() -> None:
        while not over.wait(FLUSH):
            output.flush()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield output
    finally:
        over.set()
        thread.join()
        output.flush()
