"""`dag why`: what a node gained, what its donors let expect, and which of them earn their place."""

from collections.abc import Sequence

import click

from cli.app import App, verb
from cli.commands.frontier import known_noise
from cli.listing import headline
from cli.render import NOTHING, counted, line, styled, table
from dagstore.ids import NodeId
from dagstore.model import Direction
from dagstore.store import Store
from dagstore.views import DonorView, Gain, Place, Verdict, Why

COLUMNS = ("donor", "gain", "taken", "without it", "contributes", "verdict")
STYLES = {Place.EARNED: "green", Place.NOT_EARNED: "red", Place.UNTOLD: "yellow", Place.UNTESTED: "dim"}


@verb("why")
@click.argument("node")
def command(app: App, node: str) -> None:
    """Say why NODE is as good as it is: what it gained, what its adopted parents let expect, which earn their place.

    Nothing is run. A parent's place is judged by the node without it, if that was measured; else the command that does
    it is named.

    \b
    dag why @best
    """
    store = app.store(readonly=True)
    app.answer(store.why(node), lambda found: _render(store, found))


def _render(store: Store, why: Why) -> None:
    line(styled(why.short, "bold"), f"  child of {store.short(why.primary)}" if why.primary else "  seed")
    for donor in why.donors:
        line(f"adopted {donor.short}  ", headline(donor.message))
    line(styled(why.metric, "bold"), f" ({_better(why.direction)}), {_where(why)}")
    if why.primary is None:
        line("it has no parent that it could have gained anything over")
        return
    line(known_noise(why.noise))
    table(("", "gain", "90 %", ""), _sums(store, why), right=("gain",))
    if why.donors:
        line()
        table(COLUMNS, [_donor(store, donor) for donor in why.donors])
    for remark in _remarks(store, why):
        line(remark)


def _better(direction: Direction) -> str:
    return f"{direction.value}: a gain is how much {'lower' if direction is Direction.MINIMIZE else 'higher'} it is"


def _where(why: Why) -> str:
    return f"protocol {str(why.protocol)[:8]}, platform {why.platform}" if why.protocol else "nothing was measured yet"


def _sums(store: Store, why: Why) -> list[tuple[str, ...]]:
    measured = ("measured", *_gain(why.measured), f"over {store.short(why.primary)}" if why.primary else "")
    if not why.donors:
        return [measured, ("verdict", "", "", _styled(why.verdict))]
    of = sum(donor.brings and donor.gain is not None for donor in why.donors)
    return [
        ("expected", *_gain(why.expected), f"the gains of {of} of {counted(len(why.donors), 'donor')}"),
        measured,
        ("difference", *_gain(why.difference), _styled(why.verdict)),
    ]


def _styled(verdict: Verdict) -> str:
    return styled(verdict.value, "bold")


def _gain(gain: Gain | None) -> tuple[str, str]:
    """A gain with its sign, and half its 90 % interval."""
    if gain is None:
        return NOTHING, ""
    return f"{gain.gain:+.6g}", "± ?" if gain.high is None else f"± {(gain.high - gain.gain):.2g}"


def _donor(store: Store, donor: DonorView) -> tuple[str, ...]:
    without = store.short(donor.without) if donor.without else "not known"
    gains = (" ".join(_gain(donor.gain)), _taken(donor), without, " ".join(_gain(donor.contribution)))
    return (styled(donor.short, "bold"), *gains, styled(donor.verdict.value, STYLES[donor.verdict]))


def _taken(donor: DonorView) -> str:
    """How many of the donor's wishes were taken, of those that a decision was about."""
    if donor.refused is None:
        return NOTHING
    if donor.taken is None:
        return f"all but {donor.refused}" if donor.refused else "all"
    return f"{donor.taken} of {donor.taken + donor.refused}"


def _remarks(store: Store, why: Why) -> list[str]:
    """What one must know to believe the tables, then what to do next."""
    remarks = [_silent(donor) for donor in why.donors if not donor.brings]
    remarks += [
        f"{donor.short} comes from another seed, so its gain is unknown" for donor in why.donors if not donor.base
    ]
    if why.shared:
        remarks.append(f"what donors share, up to {_names(store, why.shared)}, is expected once")
    if why.contradictions:
        remarks.append(f"{counted(why.contradictions, 'contradiction')} had to be decided: dag show {why.short}")
    if why.reproduced is False:
        remarks.append("its files are not what adopting its parents gives, so no donor can be told from other changes")
    if why.elsewhere:
        remarks.append(f"{_names(store, why.elsewhere)} belongs to another protocol, whose numbers cannot be compared")
    remarks += [
        f"to tell about {donor.short}: {donor.next}" for donor in why.donors if donor.next not in ("", why.next)
    ]
    return [*remarks, f"next: {why.next}"] if why.next else remarks


def _silent(donor: DonorView) -> str:
    if donor.refused and not donor.taken:
        return f"nothing of {donor.short} was taken, so its gain is not expected"
    return f"{donor.short} brings nothing that the primary has not, so its gain is not expected"


def _names(store: Store, nodes: Sequence[NodeId]) -> str:
    return ", ".join(store.short(node) for node in nodes)
