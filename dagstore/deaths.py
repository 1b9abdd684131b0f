"""Whether the deaths of trainers over one ticket are chance, given how trainers die otherwise. Pure."""

SUSPECTED = 2
"""Deaths of trainers over a ticket after which it goes behind all others."""
EXPECTED = 0.05
"""A ticket is set aside when chance alone would have had fewer than so many tickets killed as often as it was."""
_DIED, _LIVED = 0.1, 9.9
"""What is believed before anything was seen: one taking in a hundred ends with the trainer's death, loosely."""


def by_chance(killed: int, taken: int, died: int) -> float:
    """How many tickets of a line chance would have had `killed` trainers in a row, of `taken` with `died` deaths.

    Both counts are of all takings in the store, those of this ticket among them; its own say nothing of chance. The
    rate of deaths is not known but learned: the prediction is that of a beta-binomial.
    """
    others, deaths = max(0, taken - killed), max(0, died - killed)
    chance = 1.0
    for one in range(killed):
        chance *= (_DIED + deaths + one) / (_DIED + _LIVED + others + one)
    return chance * max(1, taken)


def is_killer(killed: int, taken: int, died: int) -> bool:
    """Whether a ticket over which `killed` trainers died in a row is to be set aside."""
    return killed >= SUSPECTED and by_chance(killed, taken, died) < EXPECTED
