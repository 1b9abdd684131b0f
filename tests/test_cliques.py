"""The largest set that goes together, against all sets."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagstore.cliques import Found, largest, together

SIZE = 8
numbers = st.integers(0, SIZE - 1)
pairs_of = st.sets(st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1]), max_size=SIZE * 2)
groups_of = st.lists(st.sets(numbers, min_size=3, max_size=4).map(frozenset), max_size=4)


def friends_of(size, rivals):
    """Masks of who goes with whom, all but these pairs."""
    masks = [(1 << size) - 1 & ~(1 << one) for one in range(size)]
    for one, other in rivals:
        masks[one] &= ~(1 << other)
        masks[other] &= ~(1 << one)
    return masks


def quarrel_of(groups, asked=None):
    """A judge who knows groups that do not go together, and writes down what it is asked."""

    def quarrel(members):
        if asked is not None:
            asked.append(tuple(members))
        return next((sorted(group) for group in groups if group <= set(members)), ())

    return quarrel


def brute(size, rivals, groups=(), must=()):
    """The first of the largest sets, in the order of their members."""
    bad = [set(pair) for pair in rivals] + [set(group) for group in groups]
    for count in range(size, 0, -1):
        for some in combinations(range(size), count):
            if set(must) <= set(some) and not any(one <= set(some) for one in bad):
                return some
    return ()


def allowed(must, rivals, groups):
    return not any(set(one) <= set(must) for one in (*rivals, *groups))


@settings(max_examples=500)
@given(pairs_of, st.sets(numbers, max_size=2))
def test_pairs_alone_give_the_first_largest_set(rivals, must):
    if allowed(must, rivals, ()):
        assert largest(friends_of(SIZE, rivals), must) == Found(brute(SIZE, rivals, (), must), exact=True)


@settings(max_examples=500)
@given(pairs_of, groups_of, st.sets(numbers, max_size=2))
def test_what_goes_two_by_two_and_not_together_is_left_out(rivals, groups, must):
    """Four groups at most are found out within the tries, so the answer is that of all sets."""
    if allowed(must, rivals, groups):
        found = together(friends_of(SIZE, rivals), quarrel_of(groups), must)
        assert found == Found(brute(SIZE, rivals, groups, must), exact=True)


@settings(max_examples=200)
@given(pairs_of, groups_of)
def test_a_judge_who_does_not_say_who_is_at_odds_is_enough(rivals, groups):
    def quarrel(members):
        return members if any(group <= set(members) for group in groups) else ()

    assert together(friends_of(SIZE, rivals), quarrel).members == brute(SIZE, rivals, groups)


@given(pairs_of, groups_of, st.randoms())
def test_numbers_are_names_but_for_who_comes_first(rivals, groups, random):
    order = list(range(SIZE))
    random.shuffle(order)
    renamed = {tuple(sorted((order[one], order[other]))) for one, other in rivals}
    regrouped = [frozenset(order[one] for one in group) for group in groups]
    found = together(friends_of(SIZE, rivals), quarrel_of(groups))
    assert len(together(friends_of(SIZE, renamed), quarrel_of(regrouped)).members) == len(found.members)


@pytest.mark.parametrize("size", [0, 1, 60, 300])
def test_all_of_them_if_nothing_is_between_any(size):
    assert together(friends_of(size, ()), quarrel_of(())) == Found(tuple(range(size)), exact=True)


def test_the_first_alone_if_every_two_are_at_odds():
    rivals = list(combinations(range(30), 2))
    assert together(friends_of(30, rivals), quarrel_of(())) == Found((0,), exact=True)
    assert together(friends_of(30, rivals), quarrel_of(()), [7]) == Found((7,), exact=True)


def test_a_single_one_is_asked_about_at_most():
    asked = []
    together(friends_of(2, [(0, 1)]), quarrel_of((), asked))
    assert asked == [(0,)]


def test_sixty_in_rings_of_five_are_no_search():
    """No colouring tells that of a ring of five only two go together."""
    rivals = [pair for start in range(0, 60, 5) for pair in ring(start, 5)]
    found = largest(friends_of(60, rivals))
    assert found.exact
    assert found.members == tuple(at for start in range(0, 60, 5) for at in (start, start + 2))


def ring(start, size):
    numbers = range(start, start + size)
    return [*pairwise(numbers), (start, start + size - 1)]


def test_a_search_that_is_cut_short_says_so_and_is_still_free_of_quarrels():
    rivals = [*ring(0, 25), *ring(25, 5)]
    found = largest(friends_of(30, rivals), steps=6)
    assert not found.exact
    assert {*found.members} & {*range(25)}
    assert {25, 27} <= {*found.members}
    assert not any({*pair} <= {*found.members} for pair in rivals)


def test_where_nearly_nothing_goes_together_members_are_taken_one_by_one():
    """Any three are at odds, which takes more tries than there are."""

    def quarrel(members):
        return members if len(members) > 2 else ()

    found = together(friends_of(20, ()), quarrel)
    assert found == Found((0, 1), exact=False)
    assert together(friends_of(20, ()), quarrel, [5]) == Found((0, 5), exact=False)
