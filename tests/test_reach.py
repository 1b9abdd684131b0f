"""Reachability on columns: arbitrary graphs against networkx, and large ones whose answers can be told beforehand."""

from array import array
from functools import cache
from itertools import pairwise
from random import Random
from typing import NamedTuple

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.reach import (
    Columns,
    Members,
    ancestors,
    best_common,
    between,
    common_ancestors,
    descendants,
    heads,
    is_ancestor,
    leaves,
    line_ancestor,
    lineage,
    merge_base,
)


def grow(columns, parents):
    """Add the next node with these parents, the primary one first."""
    if not parents:
        columns.append(0, 0, 0, 0, ())
        return
    primary, *adopted = parents
    depth, jump = columns.depth, columns.jump
    near = jump[primary]
    far = jump[near]
    even = near and far and depth[primary] - depth[near] == depth[near] - depth[far]
    generation = 1 + max(columns.generation[parent] for parent in parents)
    columns.append(primary, far if even else primary, depth[primary] + 1, generation, tuple(sorted(adopted)))


def columns_of(listed):
    """Columns of the nodes 1, 2, … with these parents."""
    columns = Columns()
    for parents in listed:
        grow(columns, parents)
    return columns


class Case(NamedTuple):
    columns: Columns
    graph: nx.DiGraph
    primary: nx.DiGraph

    @property
    def nodes(self):
        return st.sampled_from(sorted(self.graph))

    def above(self, *nodes):
        return set(nodes).union(*(nx.ancestors(self.graph, node) for node in nodes))

    def below(self, node):
        return {node} | nx.descendants(self.graph, node)

    def line(self, node):
        """By depth: the nodes on the primary line."""
        return [*nx.topological_sort(self.primary.subgraph({node} | nx.ancestors(self.primary, node)))]

    def maximal(self, nodes):
        kept, covered = [], set()
        for node in sorted(nodes, reverse=True):
            if node not in covered:
                kept.append(node)
                covered |= nx.ancestors(self.graph, node)
        return kept[::-1]


def case_of(listed):
    graph, primary = nx.DiGraph(), nx.DiGraph()
    for node, parents in enumerate(listed, 1):
        graph.add_node(node)
        primary.add_node(node)
        graph.add_edges_from((parent, node) for parent in parents)
        primary.add_edges_from((parent, node) for parent in parents[:1])
    return Case(columns_of(listed), graph, primary)


@st.composite
def parent_lists(draw):
    """Parents of nodes 1, 2, …, some of them seeds. They may lie far apart, with lone seeds between them."""
    apart = draw(st.sampled_from([1, 1, 100]))
    listed = [[]]
    for count in range(1, draw(st.integers(1, 40))):
        near, before = st.integers(max(0, count - 3), count - 1), st.integers(0, count - 1)
        chosen = draw(st.lists(st.one_of(near, near, before), max_size=4, unique=True))
        listed += [[]] * (apart - 1) + [[1 + at * apart for at in chosen]]
    return listed


@cache
def large(seed):
    """2,500 nodes, most with one parent, in several regions of numbers that are walked one after the other."""
    random = Random(seed)
    reach = random.choice([10, 300, 3000])
    listed = [[]]
    for node in range(2, 2501):
        count = random.choice([1, 1, 1, 1, 1, 3]) if random.random() > 0.005 else 0
        listed.append(list({random.randint(max(1, node - reach), node - 1) for _ in range(count)}))
    return case_of(listed)


cases = st.one_of(parent_lists().map(case_of), st.integers(0, 9).map(large))


@given(cases, st.data())
def test_lines_follow_the_primary_parents(case, data):
    node = data.draw(case.nodes)
    line = case.line(node)
    assert list(lineage(case.columns, node)) == line[::-1]
    assert [line_ancestor(case.columns, node, depth) for depth in range(len(line) + 2)] == [*line, node, node]


@given(cases, st.data())
def test_the_merge_base_is_the_last_node_that_two_lines_share(case, data):
    one, other = data.draw(case.nodes), data.draw(case.nodes)
    shared = [a for a, b in zip(case.line(one), case.line(other), strict=False) if a == b]
    assert merge_base(case.columns, one, other) == (shared or [0])[-1]


@given(cases, st.data())
def test_ancestors_are_all_that_is_reached_over_any_parents(case, data):
    nodes, low = data.draw(st.lists(case.nodes, max_size=3)), data.draw(case.nodes)
    above = case.above(*nodes)
    assert list(ancestors(case.columns, nodes)) == sorted(above)
    assert list(ancestors(case.columns, nodes, low=low)) == sorted(node for node in above if node >= low)


@given(cases, st.data())
def test_descendants_are_all_that_reach_a_node(case, data):
    node = data.draw(case.nodes)
    assert list(descendants(case.columns, node, case.graph.successors)) == sorted(case.below(node))


@given(cases, st.data())
def test_a_node_is_an_ancestor_of_itself_and_of_what_reaches_it(case, data):
    old, young = data.draw(case.nodes), data.draw(case.nodes)
    assert is_ancestor(case.columns, old, young) == (old in case.above(young))
    assert is_ancestor(case.columns, old, old)


@given(cases, st.data())
def test_common_ancestors_are_reached_from_both_and_the_best_are_maximal(case, data):
    one, other = data.draw(case.nodes), data.draw(case.nodes)
    common = case.above(one) & case.above(other)
    assert list(common_ancestors(case.columns, one, other)) == sorted(common)
    assert best_common(case.columns, one, other) == best_common(case.columns, other, one) == case.maximal(common)


@given(cases, st.data())
def test_between_is_what_the_new_one_reaches_and_the_old_one_does_not(case, data):
    old, new = data.draw(case.nodes), data.draw(case.nodes)
    assert list(between(case.columns, old, new)) == sorted(case.above(new) - case.above(old))


@given(cases, st.data())
def test_heads_are_no_ancestors_of_others(case, data):
    nodes = data.draw(st.lists(case.nodes, max_size=8))
    assert heads(case.columns, nodes) == case.maximal(set(nodes))


@given(cases, st.data())
def test_heads_of_many_nodes(case, data):
    nodes = case.above(*data.draw(st.lists(case.nodes, max_size=2))) | set(data.draw(st.lists(case.nodes, max_size=99)))
    assert heads(case.columns, Members.of(nodes)) == case.maximal(nodes)


@given(cases)
def test_leaves_are_nobodys_parents(case):
    assert list(leaves(case.columns)) == [node for node in sorted(case.graph) if not case.graph.out_degree(node)]


@given(cases, st.data())
def test_the_laws_that_hold_between_the_answers(case, data):
    columns = case.columns
    one, other = data.draw(case.nodes), data.draw(case.nodes)
    above_one, above_other = ancestors(columns, [one]), ancestors(columns, [other])
    common, best = common_ancestors(columns, one, other), best_common(columns, one, other)
    assert between(columns, one, other) == above_other - above_one
    assert common == above_one & above_other
    assert ancestors(columns, [one, other]) == above_one | above_other
    assert best == heads(columns, best) == heads(columns, common)
    assert ancestors(columns, best) == common
    assert not any(is_ancestor(columns, a, b) for a in best for b in best if a != b)
    base = merge_base(columns, one, other)
    assert base in common if base else not common or base == 0
    assert (one in above_other) == is_ancestor(columns, one, other) == (best == [one])


# --- sets of nodes


@st.composite
def number_sets(draw):
    """Scattered numbers, whole stretches and stretches with holes."""
    numbers = set(draw(st.lists(st.integers(1, 20_000), max_size=20)))
    for _ in range(draw(st.integers(0, 3))):
        start, length, step = draw(st.tuples(st.integers(1, 15_000), st.integers(0, 9_000), st.integers(1, 12)))
        numbers.update(range(start, start + length, step))
    return numbers


ranks = st.one_of(st.none(), st.integers(-20, 20), st.integers(-30_000, 30_000))


@given(number_sets())
def test_members_are_listed_in_order_from_either_end(numbers):
    members = Members.of(numbers)
    assert list(members) == sorted(numbers)
    assert list(reversed(members)) == sorted(numbers, reverse=True)
    assert len(members) == len(numbers)
    assert bool(members) == bool(numbers)


@given(number_sets(), st.integers(-1, 30_000))
def test_a_member_is_found(numbers, number):
    members = Members.of(numbers)
    assert (number in members) == (number in numbers)
    assert all(number in members for number in numbers)
    assert 0 not in members
    assert "1" not in members


@given(number_sets(), ranks, ranks, st.sampled_from([None, 1, 2, 7, -1, -3]))
def test_members_are_sliced_like_a_sorted_list(numbers, start, stop, step):
    assert Members.of(numbers)[start:stop:step] == sorted(numbers)[start:stop:step]


@given(number_sets(), st.data())
def test_a_single_rank_is_looked_up(numbers, data):
    members, size = Members.of(numbers), len(numbers)
    if size:
        rank = data.draw(st.integers(-size, size - 1))
        assert members[rank] == sorted(numbers)[rank]
    for outside in (size, -size - 1):
        with pytest.raises(IndexError):
            members[outside]


@given(number_sets(), number_sets())
def test_members_form_a_set_algebra(one, other):
    a, b = Members.of(one), Members.of(other)
    assert list(a & b) == sorted(one & other)
    assert list(a | b) == sorted(one | other)
    assert list(a - b) == sorted(one - other)
    assert (a == b) == (one == other)
    assert (a - b) | (a & b) == a == a & (a | b)
    assert not (a - b) & b
    assert len(a | b) == len(a) + len(b) - len(a & b)


@given(number_sets(), st.integers(50, 5_000))
def test_paging_through_everything_gives_each_exactly_once(numbers, limit):
    members = Members.of(numbers)
    pages = [members[at : at + limit] for at in range(0, len(members), limit)]
    assert [number for page in pages for number in page] == sorted(numbers)
    assert list(reversed(members)) == sorted(numbers)[::-1]


@given(cases, st.data())
def test_members_of_an_answer_are_listed_like_any_others(case, data):
    old, new = data.draw(case.nodes), data.draw(case.nodes)
    for members in (between(case.columns, old, new), ancestors(case.columns, [new], low=old)):
        listed = list(members)
        assert len(members) == len(listed)
        assert [members[rank] for rank in range(-3, 3) if -len(listed) <= rank < len(listed)] == [
            listed[rank] for rank in range(-3, 3) if -len(listed) <= rank < len(listed)
        ]
        assert members == Members.of(listed)


def test_members_differ_from_other_things_and_are_no_keys():
    assert Members.of([1]) != {1}
    assert Members.of([]) == Members(b"")
    with pytest.raises(TypeError):
        hash(Members.of([1]))


# --- columns


def test_columns_know_only_nodes():
    columns = columns_of([[], [1], [2, 1]])
    assert len(columns) == 3
    assert columns == Columns(
        array("I", [0, 0, 1, 2]),
        array("I", [0, 0, 1, 2]),
        array("I", [0, 0, 1, 2]),
        array("I", [0, 0, 1, 2]),
        {3: (1,)},
    )


def test_no_nodes_have_no_answers():
    columns = Columns()
    assert len(columns) == len(leaves(columns)) == len(ancestors(columns, [])) == 0
    assert heads(columns, []) == []


# --- large graphs with known answers

DEEP = 200_000
WIDTH, LAYERS = 100, 500


@pytest.fixture(scope="module")
def chain():
    """A chain of 200,000 and a side line of 10 from its middle, which the last node adopts the end of."""
    middle = DEEP // 2
    columns = columns_of([[], *([node] for node in range(1, DEEP))])
    for parent in (middle, *range(DEEP + 1, DEEP + 10)):
        grow(columns, [parent])
    grow(columns, [DEEP, DEEP + 10])
    return columns


def test_a_deep_chain_needs_no_stack(chain):
    middle, side, last = DEEP // 2, DEEP + 10, DEEP + 11
    assert sum(1 for _ in lineage(chain, last)) == DEEP + 1
    assert line_ancestor(chain, last, 12_345) == 12_346
    assert merge_base(chain, DEEP, side) == merge_base(chain, last, side) == middle
    assert len(ancestors(chain, [last])) == last
    assert ancestors(chain, [side])[middle - 1 : middle + 2] == [middle, DEEP + 1, DEEP + 2]
    assert best_common(chain, DEEP, side) == heads(chain, [1, 2, middle]) == [middle]
    assert best_common(chain, last, side) == [side]
    assert len(common_ancestors(chain, DEEP, side)) == middle
    assert list(between(chain, DEEP, last)) == [*range(DEEP + 1, DEEP + 12)]
    assert len(between(chain, side, last)) == middle + 1
    assert not between(chain, last, 1)
    assert heads(chain, range(1, DEEP + 11)) == [DEEP, side]
    assert heads(chain, [1, DEEP, side, last]) == [last]
    assert list(leaves(chain)) == [last]


def test_ancestry_in_a_deep_chain(chain):
    side, last = DEEP + 10, DEEP + 11
    assert is_ancestor(chain, 1, last)
    assert is_ancestor(chain, side, last)
    assert is_ancestor(chain, 1, side)
    assert not is_ancestor(chain, DEEP, side)
    assert not is_ancestor(chain, DEEP // 2 + 1, side)
    assert not is_ancestor(chain, last, 1)


class Watched(array):
    """A column that counts how often it is looked at."""

    looks = 0

    def __getitem__(self, at):
        self.looks += 1
        return super().__getitem__(at)


@pytest.mark.parametrize(
    "ask",
    [
        lambda columns: best_common(columns, DEEP - 5, DEEP),
        lambda columns: best_common(columns, DEEP, DEEP - 5),
        lambda columns: list(between(columns, DEEP - 5, DEEP)),
        lambda columns: list(between(columns, DEEP, DEEP - 5)),
        lambda columns: is_ancestor(columns, DEEP - 5, DEEP),
        lambda columns: is_ancestor(columns, DEEP - 5, DEEP + 10),
        lambda columns: heads(columns, [1, DEEP - 5, DEEP]),
        lambda columns: heads(columns, range(DEEP - 500, DEEP)),
        lambda columns: merge_base(columns, 1, DEEP),
    ],
)
def test_a_walk_in_a_deep_chain_ends_early(chain, ask):
    watched = Watched("I", chain.primary)
    ask(Columns(watched, chain.jump, chain.depth, chain.generation, chain.adopted))
    assert watched.looks < 2_000


def test_many_descendants_are_swept_instead_of_asked_for(chain):
    asked = []

    def kids(node):
        asked.append(node)
        return [node + 1] if node < DEEP else []

    assert len(descendants(chain, 1, kids)) == DEEP + 11
    assert len(asked) < DEEP / 10


def test_few_descendants_are_found_by_their_kids(chain):
    assert list(descendants(chain, DEEP, {DEEP: [DEEP + 11], DEEP + 11: []}.__getitem__)) == [DEEP, DEEP + 11]


def at(layer, column):
    return 1 + layer * WIDTH + column % WIDTH


@pytest.fixture(scope="module")
def cylinder():
    """Layers of 100 nodes around; each has the one above it as primary parent and adopts the two beside that."""
    listed = [[] for _ in range(WIDTH)]
    for layer in range(LAYERS - 1):
        listed += [[at(layer, column + side) for side in (0, -1, 1)] for column in range(WIDTH)]
    return columns_of(listed)


def cone(layer, column):
    """What a node of the cylinder reaches."""
    return {
        at(layer - up, column + side)
        for up in range(layer + 1)
        for side in (range(-up, up + 1) if 2 * up < WIDTH else range(WIDTH))
    }


def test_a_wide_graph_is_reached_in_cones(cylinder):
    assert len(cylinder) == WIDTH * LAYERS == 50_000
    assert set(ancestors(cylinder, [at(499, 7)])) == cone(499, 7)
    assert set(between(cylinder, at(480, 40), at(499, 7))) == cone(499, 7) - cone(480, 40)
    assert set(common_ancestors(cylinder, at(480, 40), at(499, 7))) == cone(499, 7) & cone(480, 40)
    assert list(leaves(cylinder)) == [at(499, column) for column in range(WIDTH)]
    below = descendants(cylinder, at(497, 7), lambda node: [])
    assert list(below) == [at(497, 7)]


def meeting(column, apart):
    """The latest nodes reached from two of the last layer, the second `apart` columns after the first."""
    layer = LAYERS - 1 - (apart + 1) // 2
    return {at(layer, column + apart // 2), at(layer, column + (apart + 1) // 2)}


def test_cones_meet_on_either_side_of_the_cylinder(cylinder):
    for apart in range(2, WIDTH // 2):
        best = meeting(50, apart) | meeting(50 + apart, WIDTH - apart)
        assert best_common(cylinder, at(499, 50), at(499, 50 + apart)) == sorted(best)
    assert best_common(cylinder, at(499, 50), at(499, 51)) == sorted(meeting(50, 1))


def test_the_merge_base_in_a_wide_graph_is_on_one_line(cylinder):
    assert merge_base(cylinder, at(499, 50), at(499, 51)) == 0
    assert merge_base(cylinder, at(499, 50), at(300, 50)) == at(300, 50)


def test_ancestry_across_a_wide_graph(cylinder):
    for up, side in ((10, 10), (10, -10), (49, 49), (300, 50)):
        assert is_ancestor(cylinder, at(499 - up, 20 + side), at(499, 20))
    for up, side in ((10, 11), (10, -11), (48, 50), (0, 1)):
        assert not is_ancestor(cylinder, at(499 - up, 20 + side), at(499, 20))


def test_the_heads_of_a_wide_graph_are_its_last_layer(cylinder):
    assert heads(cylinder, range(1, 50_001)) == list(leaves(cylinder))
    for older, younger in pairwise([at(100, 3), at(200, 4), at(499, 5)]):
        assert heads(cylinder, [younger, older]) == [younger]


def test_what_a_node_far_down_is_reached_by(cylinder):
    asked = 0

    def kids(node):
        nonlocal asked
        asked += 1
        layer, column = divmod(node - 1, WIDTH)
        return [at(layer + 1, column + side) for side in (-1, 0, 1)] if layer < LAYERS - 1 else []

    members = descendants(cylinder, at(100, 0), kids)
    assert len(members) == sum(min(2 * down + 1, WIDTH) for down in range(400))
    assert asked < 2_000
    assert members[:4] == [at(100, 0), at(101, 0), at(101, 1), at(101, 99)]
