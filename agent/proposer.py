"""The seam between the loop and whoever edits a workspace: a tuner, a program, a person."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class ProposalFailed(Exception):
    """Nothing was proposed this time. The message is a reason of one line, fit for a note.

    It costs one attempt and never stops the loop. What a proposer had already written stays in the
    workspace, so a workspace whose proposal failed is not to be sealed.
    """


@dataclass(frozen=True, slots=True)
class Task:
    """What a proposer is given to work on.

    `workspace` is a materialised copy that belongs to the proposer until it returns. `editable` are the paths
    of existing files there that the charter allows to change. `brief` is markdown to read before proposing.
    `rng` is the only source of chance. `known()` says whether sealing the workspace as it stands would give
    a node that exists already, or no change at all. `stop()` turns true when the loop was asked to stop.
    """

    workspace: Path
    editable: tuple[str, ...]
    brief: str
    rng: random.Random
    known: Callable[[], bool]
    stop: Callable[[], bool]


class Proposer(Protocol):
    """Whoever edits a workspace. Called from one thread at a time, with one workspace at a time."""

    @property
    def name(self) -> str:
        """What the proposer is called in notes: short, printable, the same in every run."""

    def propose(self, task: Task) -> str:
        """The hypothesis, one printable line on why; the edit itself is in the workspace by then.

        Raises `ProposalFailed` when there is nothing to propose. Returns soon after `task.stop()` turns true.
        """
