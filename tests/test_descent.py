"""Which nodes of a forest are listed, in which order, and how they are drawn."""

from hypothesis import given
from hypothesis import strategies as st

from cli.treelines import draw
from dagstore.descent import Descendant, descend
from dagstore.ids import NodeId, TreeId
from dagstore.shown import Rows
from dagstore.views import NodeView


def forest(parents):
    """Children by node; node n + 1 hangs below `parents[n]`, and 1 is the root."""
    kids = {1: []}
    for node, parent in enumerate(parents, start=2):
        kids[node] = []
        kids[parent].append(node)
    return kids


@st.composite
def forests(draw):
    size = draw(st.integers(0, 30))
    return forest([draw(st.integers(1, node - 1)) for node in range(2, size + 2)])


def rows_of(places, status="new"):
    return Rows(Descendant(place.depth, place.hidden, node_view(place.node, status)) for place in places)


def node_view(number, status="new"):
    id = NodeId(number.to_bytes(32, "big"))
    return NodeView(id, str(number), None, (), 0, TreeId(bytes(32)), "", "", 0, 0, status, None, None, None, ())


def numbers(lines):
    return [(line.prefix, line.row.node.short if line.row else line.text) for line in lines]


@given(forests(), st.integers(1, 40), st.none() | st.integers(0, 5))
def test_what_is_listed_hangs_together(kids, limit, depth):
    places = descend(1, kids.__getitem__, depth=depth, limit=limit)
    listed = {place.node: place for place in places}
    assert len(listed) == len(places) <= limit
    assert places[0].node == 1
    line = []
    for place in places:
        del line[place.depth :]
        assert not line or place.node in kids[line[-1]]
        line.append(place.node)
        assert place.hidden == sum(child not in listed for child in kids[place.node])
    assert depth is None or max(place.depth for place in places) <= depth


@given(forests())
def test_everything_is_listed_and_drawn_where_there_is_room(kids):
    places = descend(1, kids.__getitem__, depth=None, limit=len(kids))
    assert sorted(place.node for place in places) == sorted(kids)
    assert len(list(draw(rows_of(places, "ok")))) == len(kids)


def test_nodes_with_children_come_before_leaves_and_near_ones_before_far_ones():
    kids = forest([1, 1, 1, 4, 5])  # 2, 3 and 4 below 1; 5 below 4; 6 below 5
    assert [place.node for place in descend(1, kids.__getitem__, depth=None, limit=4)] == [1, 2, 4, 5]


def test_branches_and_only_children():
    kids = forest([1, 2, 2, 3, 4, 4])
    rows = rows_of(descend(1, kids.__getitem__, depth=None, limit=99), "ok")
    assert numbers(draw(rows)) == [
        ("", "1"), ("", "2"), ("├─ ", "3"), ("│  ", "5"), ("└─ ", "4"), ("   ├─ ", "6"), ("   └─ ", "7"),
    ]  # fmt: skip


def test_a_long_line_is_folded_and_does_not_drift_away():
    kids = forest(range(1, 10_000))
    places = descend(1, kids.__getitem__, depth=None, limit=10_000)
    assert numbers(draw(rows_of(places))) == [("", "1"), ("", "⋮ 9998 unmeasured"), ("", "10000")]
    assert {line.prefix for line in draw(rows_of(places, "ok"))} == {""}
