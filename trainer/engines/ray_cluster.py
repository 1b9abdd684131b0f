"""The Ray engine: an order is a task of a Ray cluster, which streams back what its experiment says and leaves.

Ray starts a task where its `num_cpus`, `num_gpus` and other resources are free, and ends it when the process that
ordered it dies. It never tries one again by itself (`max_retries=0`): an experiment may have begun, and the queue
counts. A task is told to end through an actor on the driver's own node: Ray's `cancel` takes the answer away as well.
Frames of the stream are bytes: `o` output so far, `h` the header of a result, `a` a piece of an artifact, in order, and
`g` that there will be no result, and why.
"""

import contextlib
import itertools
import logging
import socket
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from dagstore.errors import BadInput, Unavailable
from dagstore.model import Status
from trainer.engines.box import CHUNK, Box, blobs
from trainer.engines.core import WORDS, Cargo, Flight, Gone, Needs, Parcel
from trainer.engines.host import Errand, node_folder
from trainer.engines.order import decode_order, encode_order
from trainer.engines.result import HEADER_BYTES, announced
from trainer.output import Follower
from trainer.scratch import Desk

AHEAD = 8
"""Frames that a task may be ahead of its driver; then it waits rather than fill the cluster's memory."""
FRAMES = 64
"""Frames that are taken in at a time."""
KNOCK_SECONDS = 5.0
"""How long a cluster may take to answer at all."""
ANY = 1 << 62
"""The log limit where a result was written; the driver holds it to the charter's."""
OVERHEAD = 256 << 20
"""Bytes that a task takes besides its experiment's."""


def carry(order: bytes, halts: Any, *batches: Sequence[bytes]) -> Iterator[bytes]:
    """Have an order performed in this task; the frames of the stream. `batches` are the tree's files, in order."""
    said = decode_order(order)
    files = dict(zip(blobs(said.tree), itertools.chain(*batches), strict=True))
    with Desk(node_folder()) as desk:
        box = Box(desk.folder / "box")
        box.fill(said, files.__getitem__)
        with Errand(box, WORDS, said.mark) as errand:
            yield from _so_far(box, errand, lambda: _is_wanted(halts, said.token))
            yield from _left(box, errand)


def _so_far(box: Box, errand: Errand, is_wanted: Callable[[], bool]) -> Iterator[bytes]:
    follower = Follower(box.folder)
    over = False
    while not over:
        over = errand.is_over()
        yield from (b"o" + chunk for chunk in follower.more())
        if not over and not is_wanted():
            errand.halt()
    follower.close()


def _is_wanted(halts: Any, token: int) -> bool:
    """Whether the driver wants it to go on; it does not if it cannot be asked any more."""
    import ray

    try:
        return bool(ray.get(halts.is_wanted.remote(token)))
    except ray.exceptions.RayError:
        return False


def _left(box: Box, errand: Errand) -> Iterator[bytes]:
    header = box.header()
    if not header:
        yield b"g" + (box.failure() or f"the process that ran it {errand.how()}").encode()
        return
    yield b"h" + header
    for artifact in announced(header, ANY):
        yield from (b"a" + chunk for chunk in box.chunks(artifact))


class Halts:
    """An actor that knows which orders nobody wants any more."""

    def __init__(self) -> None:
        self._tokens: set[int] = set()

    def halt(self, token: int) -> None:
        self._tokens.add(token)

    def is_wanted(self, token: int) -> bool:
        return token not in self._tokens


class RayEngine:
    """The Ray cluster that this process is connected to."""

    name = "ray"

    def __init__(self, needs: Needs) -> None:
        import ray

        _connect(needs.address)
        self._needs = _Resources(needs, ray.cluster_resources())
        here = ray.get_runtime_context().get_node_id()
        pinned = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        actor = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=pinned)(Halts)
        self._halts = actor.remote()
        self._task = ray.remote(carry)

    @property
    def cpus(self) -> int:
        """How many cores an experiment has to itself."""
        return max(1, int(self._needs.wanted["CPU"]))

    def width(self) -> int:
        import ray

        return max(1, self._needs.fit(ray.cluster_resources()))

    def submit(self, cargo: Cargo) -> Flight:
        options = self._needs.options(cargo.charter.memory)
        task = self._task.options(
            num_returns="streaming", max_retries=0, _generator_backpressure_num_objects=AHEAD, **options
        )
        stream = task.remote(encode_order(cargo.order), self._halts, *_batches(cargo))
        return RayFlight(stream, self._halts, cargo.order.token, cargo.charter.log_limit)

    def tidy(self, uuid: str, held: Collection[int]) -> None:
        """Nothing: Ray ends the tasks of a driver that died."""

    def close(self) -> None:
        import ray

        ray.shutdown()


class RayFlight:
    """One task."""

    def __init__(self, stream: Any, halts: Any, token: int, log_limit: int) -> None:
        self._stream = stream
        self._halts = halts
        self._token = token
        self._heard = bytearray()
        self._arrival = Arrival(log_limit)

    def poll(self) -> Parcel | Gone | None:
        import ray

        try:
            for _ in range(FRAMES):
                ready, _rest = ray.wait([self._stream], timeout=0)
                if not ready:
                    return None
                self._take_in(ray.get(next(self._stream)))
        except StopIteration:
            return self._arrival.landed()
        except BadInput as error:
            return Gone(f"what came back is not to be believed: {error.message}", Status.INFRA)
        except ray.exceptions.RayTaskError as error:
            return Gone(f"the task that ran it failed: {error.cause}", Status.INFRA)
        except ray.exceptions.RayError as error:
            return Gone(f"Ray lost it: {type(error).__name__}: {first_line(error)}")
        return None

    def _take_in(self, frame: bytes) -> None:
        if frame[:1] == b"o":
            self._heard += frame[1:]
        else:
            self._arrival.take_in(frame[:1], frame[1:])

    def output(self) -> bytes:
        heard, self._heard = bytes(self._heard), bytearray()
        return heard

    def halt(self) -> None:
        self._halts.halt.remote(self._token)

    def drop(self) -> None:
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            ray.cancel(self._stream, force=False)


class Arrival:
    """A parcel as it arrives in pieces. `BadInput` as soon as it is more than was announced."""

    def __init__(self, log_limit: int) -> None:
        self._limit = log_limit
        self._header = b""
        self._gone = ""
        self._left: deque[tuple[str, int]] = deque()
        self._pieces: dict[str, bytearray] = {}

    def take_in(self, kind: bytes, data: bytes) -> None:
        match kind:
            case b"h" if not self._header and len(data) <= HEADER_BYTES:
                self._header = data
                listed = announced(data, self._limit)
                self._left = deque((one.name, one.size) for one in listed)
                self._pieces = {one.name: bytearray() for one in listed}
            case b"a":
                self._add(data)
            case b"g":
                self._gone = data.decode("utf-8", "replace")
            case _:
                raise BadInput("a piece that nobody knows")

    def _add(self, data: bytes) -> None:
        """To the first artifact that is not whole."""
        while self._left and len(self._pieces[self._left[0][0]]) == self._left[0][1]:
            self._left.popleft()
        if not self._left or len(self._pieces[self._left[0][0]]) + len(data) > self._left[0][1]:
            raise BadInput("more than was announced")
        self._pieces[self._left[0][0]] += data

    def landed(self) -> Parcel | Gone:
        """What it is, now that nothing more comes."""
        if not self._header:
            return Gone(self._gone or "its task ended without a result")
        return Parcel(self._header, {name: bytes(data) for name, data in self._pieces.items()})


class _Resources:
    """What a task asks of Ray: `num_cpus`, `num_gpus`, `memory`, and resources that a cluster names itself."""

    def __init__(self, needs: Needs, cluster: Mapping[str, float]) -> None:
        asked = {name: _amount(name, value) for name, value in needs.ask.items()}
        gpus = 1 / needs.per_gpu if needs.per_gpu else float(cluster.get("GPU", 0) > 0)
        self._memory = asked.pop("memory", 0.0)
        named = {"CPU": asked.pop("num_cpus", 1.0), "GPU": asked.pop("num_gpus", gpus)}
        self.wanted: dict[str, float] = {**named, **asked}
        if self.fit(cluster) < 1:
            what = ", ".join(f"{amount:g} {name}" for name, amount in self.wanted.items() if amount)
            raise Unavailable(
                f"this Ray cluster has less than one experiment needs: {what}",
                hint="`ray status` shows what it has; ask for less with --ask NAME=AMOUNT",
            )

    def fit(self, cluster: Mapping[str, float]) -> int:
        """How many experiments a cluster has room for."""
        wanted = {name: amount for name, amount in self.wanted.items() if amount}
        return min((int(cluster.get(name, 0) / amount + 1e-6) for name, amount in wanted.items()), default=1)

    def options(self, memory: int) -> dict[str, Any]:
        custom = {name: amount for name, amount in self.wanted.items() if name not in ("CPU", "GPU")}
        need = self._memory or (memory + OVERHEAD if memory else 0)
        return {
            "num_cpus": self.wanted["CPU"],
            "num_gpus": self.wanted["GPU"],
            "resources": custom,
            **({"memory": int(need)} if need else {}),
        }


def _amount(name: str, value: str) -> float:
    with contextlib.suppress(ValueError):
        amount = float(value)
        if 0 <= amount < float("inf"):
            return amount
    raise BadInput(f"--ask {name}={value}: not an amount", hint="say a number, such as num_gpus=0.5")


def _connect(address: str) -> None:
    import ray

    if ray.is_initialized():
        return
    try:
        _knock(address)
        ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise Unavailable(
            f"no Ray cluster can be reached: {first_line(error)}",
            hint="start one (`ray start --head`), or name it in RAY_ADDRESS",
        ) from None


def _knock(address: str) -> None:
    """`OSError` if nobody answers there: Ray's own client would try for a minute, deaf to signals."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()


def _batches(cargo: Cargo) -> Iterator[Any]:
    """References to the tree's files, some of them together."""
    import ray

    batch: list[bytes] = []
    for blob in blobs(cargo.order.tree):
        batch.append(cargo.read(blob))
        if sum(map(len, batch)) >= CHUNK:
            yield ray.put(batch)
            batch = []
    yield ray.put(batch)


def first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")
