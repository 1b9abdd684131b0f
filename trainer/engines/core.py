"""The seam to the places where experiments run that a trainer does not run itself: what an engine is asked to do.

An engine never sees the store. It carries an order to some node, where `host` has it performed, and brings back a
parcel or says that there will be none. Whether that counts is decided by whoever holds the claim (`driver`).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from dagstore import BlobId, Charter
from dagstore.model import Ended, Status
from trainer.engines.order import Order

WORDS = ("-P", "-m", "cli.errand")
"""What the interpreter of a node is told to perform an order; the box follows."""
PATIENCE = 30.0
"""Seconds in which an experiment that was asked to end must have; then its process is killed."""


class Parcel(NamedTuple):
    """What came back: the header of a result, as bytes that nobody has checked yet, and its artifacts by name."""

    header: bytes
    artifacts: Mapping[str, bytes]


class Gone(NamedTuple):
    """There will be no parcel, and why, in words for people. Not the experiment's fault, unless `status` says so."""

    reason: str
    status: Status = Status.LOST
    ending: Ended = Ended.TRAINER_LOST


class Flight(Protocol):
    """One order on its way. All calls come from one thread and return at once."""

    def poll(self) -> Parcel | Gone | None:
        """How it ended; None as long as it has not."""

    def output(self) -> bytes:
        """What the experiment wrote since the last call, as far as that is known; floods are thinned."""

    def halt(self) -> None:
        """Have the experiment ended; `poll` then tells how that went. Asking again changes nothing."""

    def drop(self) -> None:
        """Nobody waits for it any more: end it by force if need be, and let go of what was kept for it."""


class Engine(Protocol):
    """A place where orders are performed. `close` ends every flight.

    `cpus` is how many cores an experiment has to itself there, 0 if that is not known.
    """

    @property
    def name(self) -> str: ...

    @property
    def cpus(self) -> int: ...

    def width(self) -> int:
        """How many orders it could perform at a time, at least 1; changes as a cluster does."""

    def submit(self, cargo: "Cargo") -> Flight:
        """The order's flight; `DagError` if it cannot begin."""

    def tidy(self, uuid: str, held: Collection[int]) -> None:
        """End what drivers left that were killed: orders of that store whose claim's token is not among `held`."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Cargo:
    """An order, the charter in its tree, and `read`, which gives the bytes of a file. `home` is a folder for it alone.

    The flight is over once the claim of `ttl` seconds is not renewed.
    """

    order: Order
    charter: Charter
    read: Callable[[BlobId], bytes]
    home: Path
    ttl: float


@dataclass(frozen=True, slots=True)
class Needs:
    """What one experiment needs. `per_gpu` of them share a GPU, None if nobody said so; `ask` is for the engine.

    `shared` is a folder that all nodes see, for an engine that needs one; None for the store's. `address` is the
    cluster's, HOST:PORT, for an engine that has addresses; empty for the one that this machine is a node of.
    """

    per_gpu: int | None = None
    ask: Mapping[str, str] = field(default_factory=dict)
    shared: Path | None = None
    address: str = ""
