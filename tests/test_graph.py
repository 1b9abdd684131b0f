"""Questions about the DAG, on graphs that can be drawn and on arbitrary ones against the obvious definition."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.graph import line_ancestor, make_row, merge_base, partings

# node: [primary, adopted ...]
DRAWN = {
    1: [],
    2: [1],
    3: [1],
    4: [2, 3],
    5: [3, 2],
    6: [4],
    7: [5],
    8: [6, 7],
    9: [3],
    10: [],  # another seed
    11: [10],
    12: [11, 8],
}


def new_row(primary, adopted, node, rows):
    """The row of a node whose record and tree have numbers of their own."""
    return make_row(primary, adopted, 3 * node, 3 * node - 1, 1, rows.__getitem__)


def rows_of(parents):
    rows = {}
    for node in sorted(parents):
        primary, *adopted = parents[node] or [0]
        rows[node] = new_row(primary, adopted, node, rows)
    return rows


@pytest.fixture
def row():
    return rows_of(DRAWN).__getitem__


def test_a_row_knows_its_parents_and_tree(row):
    assert row(8).parents == (6, 7)
    assert row(1).parents == ()
    assert (row(8).record, row(8).tree, row(8).first) == (24, 23, 1)


def test_generation_is_the_longest_way_to_a_seed_and_depth_the_primary_one(row):
    assert [(row(node).generation, row(node).depth) for node in (1, 4, 8, 10, 12)] == [
        (0, 0),
        (2, 2),
        (4, 4),
        (0, 0),
        (5, 2),
    ]


def test_adopted_parents_are_a_set_in_order():
    rows = rows_of({1: [], 2: [1], 3: [1], 4: [1]})
    assert new_row(2, [4, 3], 5, rows) == new_row(2, [3, 4], 5, rows)


@pytest.mark.parametrize(
    ("one", "other", "base"),
    [(8, 7, 1), (6, 5, 1), (8, 4, 4), (7, 9, 3), (5, 5, 5), (1, 8, 1), (8, 11, 0), (10, 12, 10), (1, 10, 0)],
)
def test_the_merge_base_is_where_primary_lines_part(row, one, other, base):
    assert merge_base(one, other, row) == merge_base(other, one, row) == base


@pytest.mark.parametrize(
    ("trunk", "others", "found"),
    [
        (6, [7], {7: 1}),
        (6, [9, 7], {7: 1, 9: 3}),  # 7 and 9 share 3, which is on no line of 6
        (6, [7, 9, 5], {5: 1, 7: 5, 9: 3}),
        (8, [4], {4: 4}),
        (4, [8], {8: 4}),
        (8, [11], {11: 0}),
        (8, [], {}),
    ],
)
def test_lines_part_from_the_trunk_and_from_each_other(row, trunk, others, found):
    assert partings(trunk, others, row) == found


@st.composite
def dags(draw):
    """Parent lists by node, a node's parents before it; several seeds, many adoptions."""
    size = draw(st.integers(1, 40))
    parents = {1: []}
    for node in range(2, size + 1):
        before = st.integers(1, node - 1)
        near = st.integers(max(1, node - 3), node - 1)
        parents[node] = draw(st.lists(st.one_of(near, near, before), max_size=3, unique=True))
    return parents


@given(dags(), st.data())
def test_every_answer_is_the_obvious_one(parents, data):
    row = rows_of(parents).__getitem__

    @cache
    def line(node):
        return (node, *(line(parents[node][0]) if parents[node] else ()))

    @cache
    def generation(node):
        return 1 + max(map(generation, parents[node])) if parents[node] else 0

    nodes = st.sampled_from(sorted(parents))
    one, other = data.draw(nodes), data.draw(nodes)
    assert row(one).generation == generation(one)
    assert row(one).depth == len(line(one)) - 1
    assert merge_base(one, other, row) == next((node for node in line(one) if node in line(other)), 0)
    for depth in range(len(line(one)) + 2):
        expected = line(one)[len(line(one)) - 1 - depth] if depth < len(line(one)) else one
        assert line_ancestor(one, depth, row) == expected


@given(dags(), st.data())
def test_stretches_from_where_lines_part_are_all_that_is_new_each_once(parents, data):
    row = rows_of(parents).__getitem__

    def line(node):
        return [node, *(line(parents[node][0]) if parents[node] else ())]

    nodes = st.sampled_from(sorted(parents))
    trunk, others = data.draw(nodes), data.draw(st.lists(nodes, max_size=5))
    found = partings(trunk, others, row)
    stretches = []
    for node, since in found.items():
        above = line(node)
        stretches += above[: above.index(since)] if since else above
    assert sorted(stretches) == sorted({one for node in others for one in line(node)} - set(line(trunk)))


def test_chains_of_100_000_cost_few_steps_and_no_stack():
    fork, end = 60_000, 100_000
    rows = rows_of({1: []} | {node: [node - 1] for node in range(2, end + 1)})
    rows |= {end + 1: new_row(fork, (), end + 1, rows)}
    for node in range(end + 2, end + 5_000):
        rows[node] = new_row(node - 1, (), node, rows)
    looks = 0

    def row(node):
        nonlocal looks
        looks += 1
        return rows[node]

    assert merge_base(end, end + 4_999, row) == fork
    assert line_ancestor(end, 12_345, row) == 12_346
    assert looks < 400
