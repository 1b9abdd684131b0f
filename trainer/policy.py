"""What the owner of a machine agreed to, which bounds what charters may ask for: nodes are written by anybody.

The owner's word is the `dag.toml` at the root of the project that the trainer works for, their own file on their own
disk, and what they said to the trainer besides. Where there is no such file, experiments run in a whole sandbox only.
"""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dagstore.charter import SANDBOXES, Charter, is_outside, parse_charter
from dagstore.demands import Demands
from dagstore.errors import BadInput
from dagstore.paths import CHARTER_PATH
from dagstore.quantities import format_duration, format_size, parse_size
from trainer.view import within

_LOOSENESS = {"required": 0, "auto": 1, "none": 2}
MOST_KNOWN, MOST_TOLD = 10_000, 20
"""Answers that are remembered, and kinds of demands that are told of: whoever writes charters has many words."""
DEFAULT_BYTES = 64 << 20
"""What every charter may have a trainer hold: the usual `log_limit`."""
_FORMS = "network, data=PATH, environment=NAME, hidden=PATH, limits=SIZE or sandbox=auto|none"


@dataclass(frozen=True, slots=True)
class Grants:
    """What is agreed to. Of `sandbox` the loosest word that a charter may say; `data` and `hidden` with what is below.

    `hidden` is for evaluations only, and never for experiments. `bytes` bounds `log_limit` and `file_limit`, which the
    trainer holds in memory; `seconds` bounds budget and grace, None: any.
    """

    sandbox: str = "required"
    network: bool = False
    data: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    bytes: int = DEFAULT_BYTES
    seconds: float | None = None

    @classmethod
    def of(cls, charter: Charter) -> "Grants":
        """What whoever writes this charter for themselves agrees to."""
        hidden = tuple(path for path in charter.hidden if is_outside(path))
        most = max(DEFAULT_BYTES, charter.log_limit, charter.file_limit)
        return cls(charter.sandbox, charter.network, charter.data, charter.environment, hidden, most)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Grants":
        """What `dataclasses.asdict` made, also by way of JSON."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
        }
        return cls(**values)

    def with_more(self, more: "Grants") -> "Grants":
        """What either agrees to, no longer than both allow."""
        bounds = [seconds for seconds in (self.seconds, more.seconds) if seconds is not None]
        return Grants(
            max(self.sandbox, more.sandbox, key=lambda word: _LOOSENESS[word]),
            self.network or more.network,
            self.data + more.data,
            self.environment + more.environment,
            self.hidden + more.hidden,
            max(self.bytes, more.bytes),
            min(bounds, default=None),
        )


class Lack(NamedTuple):
    """Something that is asked for and not agreed to, and the option that would."""

    what: str
    option: str


def read_grants(words: Iterable[str], folder: Path, seconds: float | None = None) -> Grants:
    """What options such as `network` and `data=PATH` agree to; paths are relative to `folder`. `BadInput` on others."""
    found = Grants(seconds=seconds)
    for word in words:
        found = found.with_more(_grant(word, folder))
    return found


def _grant(word: str, folder: Path) -> Grants:
    name, _, value = word.partition("=")
    match name:
        case "network" if not value:
            return Grants(network=True)
        case "sandbox" if value in SANDBOXES:
            return Grants(sandbox=value)
        case "environment" if value:
            return Grants(environment=(value,))
        case "limits" if value:
            return Grants(bytes=parse_size(value))
        case "data" | "hidden" if value:
            place = value if value.startswith("~") else str(folder / value)
            return Grants(data=(place,)) if name == "data" else Grants(hidden=(place,))
    raise BadInput(f"{word!r} cannot be allowed", hint=f"allow {_FORMS}")


def lacking(demands: Demands, granted: Grants, real: Callable[[str], str], *, whole: bool) -> Iterator[Lack]:
    """What of the demands is not agreed to. `real` resolves a charter's path; `whole`: the sandbox here is one.

    What the owner hides is not shown to experiments as data, whatever is granted.
    """
    strict_enough = whole and demands.sandbox == "auto"
    if _LOOSENESS[demands.sandbox] > _LOOSENESS[granted.sandbox] and not strict_enough:
        yield Lack(f'sandbox = "{demands.sandbox}"', f"--allow sandbox={demands.sandbox}")
    if demands.network and not granted.network:
        yield Lack("network = true", "--allow network")
    yield from _lacking_paths(demands, granted, real)
    for name in demands.environment:
        if name not in granted.environment:
            yield Lack(f'environment = ["{name}"]', f"--allow environment={name}")
    if demands.bytes > granted.bytes:
        size = format_size(demands.bytes)
        yield Lack(f"log_limit or file_limit = {size}", f"--allow limits={size}")
    if granted.seconds is not None and demands.seconds > granted.seconds:
        span = format_duration(demands.seconds)
        yield Lack(f"up to {span} of time", f"--max-budget {span}")


def _lacking_paths(demands: Demands, granted: Grants, real: Callable[[str], str]) -> Iterator[Lack]:
    open_, secret = [real(path) for path in granted.data], [real(path) for path in granted.hidden]
    for path in demands.data:
        place = real(path)
        kept = any(within(place, hidden) or within(hidden, place) for hidden in secret)
        if kept or not within(place, *open_):
            yield Lack(f'data = ["{path}"]', f"--allow {shlex.quote(f'data={path}')}")
    for path in demands.hidden:
        if not within(real(path), *open_, *secret):
            yield Lack(f'hidden = ["{path}"]', f"--allow {shlex.quote(f'hidden={path}')}")


class Owner:
    """Answers for the owner of the project at `root`, as their `dag.toml` is just now.

    `said` is what they agreed to besides. `whole` is whether the sandbox of this machine is a whole one.
    """

    def __init__(self, root: Path, home: str, said: Grants, *, whole: bool) -> None:
        self._root = root
        self._home = home
        self._said = said
        self._whole = whole
        self._read: tuple[tuple[int, ...], Grants] | None = None
        self._known: dict[tuple[Grants, Demands], tuple[Lack, ...]] = {}
        self._told: set[tuple[str, str]] = set()

    def allows(self, demands: Demands) -> bool:
        """Whether all of it is agreed to."""
        return not self.lacking(demands)

    def lacking(self, demands: Demands) -> Sequence[Lack]:
        """What of it is not."""
        granted = self.granted()
        key = granted, demands
        if key not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known = {}
            self._known[key] = tuple(lacking(demands, granted, self._real, whole=self._whole))
        return self._known[key]

    def news(self) -> list[tuple[str, str]]:
        """What was asked for in vain since the last call, as `explain` says it; each once, and not without end."""
        refused = [self.explain(lacks) for lacks in list(self._known.values()) if lacks]
        fresh = [told for told in dict.fromkeys(refused) if told not in self._told]
        room = fresh[: max(0, MOST_TOLD - len(self._told))]
        self._told.update(room)
        return room

    def explain(self, lacks: Sequence[Lack]) -> tuple[str, str]:
        """What is asked for and not allowed, and what to do about it."""
        options = " ".join(lack.option for lack in lacks)
        hint = f"if you trust who wrote it: {options}, or say it in {self._root / CHARTER_PATH}"
        return ", ".join(lack.what for lack in lacks), hint

    def granted(self) -> Grants:
        """What is agreed to now; a `dag.toml` that cannot be read agrees to nothing."""
        path = self._root / CHARTER_PATH
        try:
            found = os.stat(path)
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if self._read is None or self._read[0] != stamp:
                self._read = stamp, Grants.of(parse_charter(path.read_text(encoding="utf-8")))
            return self._said.with_more(self._read[1])
        except (OSError, ValueError, BadInput):
            return self._said

    def _real(self, path: str) -> str:
        """Where a path of a charter leads on this machine."""
        if path == "~" or path.startswith("~/"):
            return os.path.realpath(self._home + path[1:])
        return os.path.realpath(self._root / path)
