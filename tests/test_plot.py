"""The picture of a search: what counts as an improvement, what is in view, and that anything can be drawn."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagstore import NotFound
from dagstore.model import Direction, Status
from dagstore.plot import Point, Progress, draw_progress, measured_progress, view
from dagstore.plot import progress as picture
from dagstore.testing.builders import make_child, make_store, measure

values = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def search(*values, direction=Direction.MINIMIZE, noise=None):
    return Progress(tuple(Point(value, f"idea {at}") for at, value in enumerate(values)), "loss", direction, noise)


def test_improvements_depend_on_the_direction():
    assert search(None, 3.0, 4.0, 2.0, 2.0).improvements() == [1, 3]
    assert search(None, 3.0, 4.0, 2.0, 5.0, direction=Direction.MAXIMIZE).improvements() == [1, 2, 4]


def test_a_few_outliers_do_not_flatten_the_rest():
    low, high = view(search(1.0, *(0.9 + 0.001 * at for at in range(40)), 1e9, 50.0))
    assert low < 0.9 < 1.0 < high < 1.2
    low, high = view(search(*(0.9 + 0.001 * at for at in range(40)), -1e12, 0.5, direction=Direction.MAXIMIZE))
    assert 0.8 < low < high < 1.0


@given(st.lists(values, min_size=1, max_size=30).filter(lambda found: any(value is not None for value in found)))
def test_the_view_is_a_range_that_holds_a_measured_value(found):
    low, high = view(search(*found))
    assert low < high
    assert any(low <= max(-1e300, min(1e300, value)) <= high for value in found if value is not None)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.builds(Point, values, st.text(max_size=60)), min_size=1, max_size=12).filter(
        lambda points: any(point.value is not None for point in points)
    ),
    st.sampled_from(Direction),
    st.none() | st.floats(0, 1),
)
def test_anything_can_be_drawn(points, direction, noise):
    drawn = draw_progress(Progress(tuple(points), "$metric_{", direction, noise, "cpu \x1b[31m"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn.canvas.draw()


def test_experiments_come_in_the_order_of_their_first_run_once_a_tree(tmp_path):
    with make_store(tmp_path) as store:
        child = make_child(store, "@seed", {"train.py": "LR = 2\n"}, why="double it")
        failed = make_child(store, "@seed", {"train.py": "LR = 3\n"})
        measure(store, child, 0.5)
        measure(store, "@seed", 1.0)
        measure(store, child, 0.7, seed=1)
        measure(store, failed, None, Status.CRASHED)
        measure(store, failed, 9.0, platform="other")
        found = measured_progress(store)
        worth = [store.node(node).estimate for node in (child, "@seed")]
        assert found.points == (Point(worth[0], "double it"), Point(worth[1], "seed"), Point(None, ""))
        assert [point.label for point in measured_progress(store, "@seed").points] == ["seed"]
        assert picture(store).axes


def test_nothing_measured(tmp_path):
    with make_store(tmp_path) as store, pytest.raises(NotFound):
        measured_progress(store)
