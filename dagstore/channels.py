"""Channels: one for every (protocol, platform) that was measured, within which numbers can be compared.

Rows of the table `rank`:

    c <protocol> <platform>   -> channel number
    d <channel:4>             -> a channel
    l                         -> channel of the last measured run of code that is not lost
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from dagstore.codec import pack, unpack
from dagstore.ids import ProtocolId
from dagstore.model import Direction, Protocol, Run, Status
from dagstore.posterior import Steps, steps_of
from dagstore.rank import Z90, Noise, Pool
from dagstore.storage import Reader, Writer

DOUBT = 0.5
"""How many squared deviations the assumed noise counts for beside those that were seen, in the width of intervals."""
FINENESS = 1024
"""The noise is rounded to this part of its power of two, finer than half a million repeats tell it: so that one more
repeat seldom changes every estimate of a large column."""
_ABSURD = 1e6
"""Noise that is assumed is taken for at most so many times that which was seen."""


class Scale(NamedTuple):
    """What turns means into estimates: the noise of one run, and how trees differ from their parents.

    `sd` is None if nothing is known of the noise, not even what could be assumed. `wide` is the half-width of a 90 %
    interval in standard errors: more than a normal's where the noise is known from few repeats.
    """

    sd: float | None
    wide: float
    steps: Steps


class Learned(NamedTuple):
    """What a channel knows beyond its noise, as of a past run; see `ranking.refresh`.

    `assumed` is the noise to be assumed while there is none (0: not even that), `shares` those of the components of
    steps. `due` is the number of runs at which to learn again. All trees were last brought up to date when there were
    `swept` of them, and the noise was `sd`; those with smaller numbers than `cursor` are still to be.
    """

    assumed: float = 0.0
    shares: tuple[float, ...] = ()
    due: int = 0
    swept: int = 0
    sd: float = 0.0
    cursor: int = 0


class Channel(NamedTuple):
    """One column of comparable numbers: `runs` that count, of so many `trees`."""

    number: int
    protocol: ProtocolId
    platform: str
    metric: str
    direction: Direction
    runs: int
    pool: Pool
    trees: int = 0
    learned: Learned = Learned()

    @property
    def key(self) -> bytes:
        return self.number.to_bytes(4, "big")

    def counts(self, run: Run) -> bool:
        """Whether a run is one of those that are compared here."""
        here = run.protocol == self.protocol and run.platform == self.platform
        return here and run.status is Status.OK and self.metric in run.metrics

    def noise(self) -> Noise:
        known = self.pool.noise()
        return known if known.sd is not None else Noise(None, known.n, self.learned.assumed or None)

    def scale(self) -> Scale:
        return scale(self.pool, self.learned)


@lru_cache(maxsize=64)
def scale(pool: Pool, learned: Learned) -> Scale:
    """The noise is the pooled one; as far as little was repeated, intervals allow for what would be assumed without.

    Runs that gave the very same number again and again have no noise. Without any repeats a parent says nothing of its
    children: the prior is wide, and the estimate is the mean.
    """
    freedom = pool.runs - pool.groups
    if freedom > 1 and not pool.squares:
        return Scale(0.0, Z90, ())
    if not freedom or not pool.squares:
        return Scale(learned.assumed or None, Z90, ())
    sd = _rounded(math.sqrt(pool.squares / freedom))
    if not 1e-140 < sd < 1e140:
        return Scale(sd, Z90, ())
    doubt = DOUBT if learned.assumed else 0
    ratio = (doubt * min(learned.assumed / sd, _ABSURD) ** 2 + freedom) / (doubt + freedom)
    wide = _rounded(_wide(doubt + freedom) * math.sqrt(ratio))
    return Scale(sd, wide, steps_of(learned.shares, sd) if learned.shares else ())


def channels(txn: Reader) -> list[Channel]:
    """All channels, in the order of their first run."""
    return [_read(key[1:], row) for key, row in txn.scan("rank", b"d", b"e")]


def default_channel(txn: Reader, platform: str | None = None, protocol: ProtocolId | None = None) -> Channel | None:
    """The column that a ranking shows unless told otherwise; None when nothing was measured.

    It is of the protocol that was measured last, on the platform with the most runs of it (or those asked for). Code
    that is lost cannot be built on, so runs of it are shown only where protocol or platform ask for them.
    """
    last = txn.get("rank", b"l")
    if last is None and platform is None and protocol is None:
        return None
    wanted = [one for one in channels(txn) if platform in (None, one.platform) and protocol in (None, one.protocol)]
    if protocol is None and last is not None:
        protocol = _read(last, txn.get("rank", b"d" + last) or b"").protocol
    same = [one for one in wanted if one.protocol == protocol] or wanted[-1:]
    return max(same, key=lambda one: (one.runs, -one.number), default=None)


def channel_for(txn: Writer, run: Run, protocol: Protocol) -> Channel:
    """The channel of a run; a new one has no row yet."""
    name = b"c" + run.protocol + run.platform.encode()
    raw = txn.get("rank", name)
    if raw is not None:
        return _read(raw, txn.get("rank", b"d" + raw) or b"")
    number = 1 + sum(1 for _ in txn.scan("rank", b"d", b"e"))
    txn.put("rank", name, number.to_bytes(4, "big"))
    return Channel(number, run.protocol, run.platform, protocol.metric, protocol.direction, 0, Pool())


def save_channel(txn: Writer, it: Channel) -> None:
    assumed, shares, *rest = it.learned
    learned: Sequence[object] = [assumed, list(shares), *rest]
    head = [bytes(it.protocol), it.platform, it.metric, it.direction.value, it.runs, *it.pool, it.trees]
    txn.put("rank", b"d" + it.key, pack([*head, learned]))


def measured_last(txn: Writer, channel: Channel) -> None:
    txn.put("rank", b"l", channel.key)


def _read(number: bytes, row: bytes) -> Channel:
    protocol, platform, metric, direction, runs, *rest = unpack(row)
    *pool, trees, (assumed, shares, *more) = rest
    learned = Learned(assumed, tuple(shares), *more)
    names = ProtocolId(protocol), platform, metric, Direction(direction)
    return Channel(int.from_bytes(number, "big"), *names, runs, Pool(*pool), trees, learned)


def _rounded(value: float) -> float:
    part, power = math.frexp(value)
    return math.ldexp(round(part * FINENESS) / FINENESS, power)


def _wide(freedom: float) -> float:
    """The 95 % quantile of Student's t, by its expansion around the normal's (Abramowitz and Stegun 26.7.5)."""
    z = Z90
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
