"""Curves as values and as bytes, how they are thinned, and the laws of the rules that go by them."""

import math
import os
from itertools import pairwise

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore.curves import (
    MAX_NAMES,
    MAX_PARTS,
    TICKS,
    Curves,
    Trace,
    decode_curves,
    encode_curves,
)
from dagstore.errors import BadInput
from dagstore.ids import NodeId, RunId
from dagstore.model import Direction
from dagstore.pruners import (
    FILLED,
    RUNGS,
    STARTUP,
    STEP,
    WARM_UP,
    Past,
    Rivals,
    Rule,
    course_of,
    hopeless,
    moment,
    noise_of,
)
from dagstore.replay import Race, Whole, replay
from trainer.follower import Judge
from trainer.steps import LIMIT, MAX_LINES, Steps

GOLDEN = bytes.fromhex(
    "9301cd04209292a46c6f7373929200cb4004000000000000920fcb3ff400000000000092a376c3a99192cd0400cb0000000000000000"
)
CURVES = Curves(1056, {"loss": ((0, 2.5), (15, 1.25)), "vé": ((1024, 0.0),)})

values = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: value + 0.0)
reports = st.lists(st.tuples(st.integers(0, 3 * TICKS), values), max_size=120).map(
    lambda points: sorted(points, key=lambda point: point[0])
)
directions = st.sampled_from(Direction)
rules = st.sampled_from(Rule)
pasts = st.lists(st.tuples(st.integers(0, 6), st.booleans(), reports, st.integers(0, TICKS)), max_size=14)


def trace_of(points, name="loss"):
    trace = Trace([name])
    for tick, value in points:
        trace.add(tick, {name: value})
    return trace


def past_of(drawn, direction):
    return [
        Past(tree, whole, course_of(points, max([end, *(tick for tick, _ in points)]), direction))
        for tree, whole, points, end in drawn
    ]


def flat(level, direction=Direction.MINIMIZE, *, tree=0, whole=True, end=TICKS):
    return Past(tree, whole, course_of([(0, level)], end, direction))


# As bytes


def test_golden_bytes_stay_as_they_are():
    assert encode_curves(CURVES) == GOLDEN
    assert decode_curves(GOLDEN) == CURVES


@given(st.dictionaries(st.text(min_size=1, max_size=20), reports, max_size=3), st.integers(0, 5000))
def test_what_was_written_is_read(named, end):
    curves = Curves(end, {name: tuple(points) for name, points in named.items()})
    assert decode_curves(encode_curves(curves)) == curves


@pytest.mark.parametrize(
    "row",
    [
        [],
        {},
        [1],
        [1, -1, []],
        [1, True, []],
        [1, 10, [["", []]]],
        [1, 10, [["x", [[5, 1.0], [4, 1.0]]]]],
        [1, 10, [["x", [[5, math.nan]]]]],
        [1, 10, [["x", [[5, 1e300]]]]],
        [1, 10, [["x", [[5, 1]]]]],
        [1, 10, [["x", [[5, -0.0]]]]],
        [1, 10, [["y", []], ["x", []]]],
        [1, 10, [["x", []], ["x", []]]],
        [1, 10, [["x" * 65, []]]],
    ],
)
def test_other_bytes_are_refused(row):
    with pytest.raises(BadInput):
        decode_curves(msgpack.packb(row))


def test_a_later_version_says_so():
    with pytest.raises(BadInput, match="version 2") as refused:
        decode_curves(msgpack.packb([2, 0, [], "more"]))
    assert refused.value.code == "newer_format"


# Thinning


@given(reports)
def test_a_thinned_curve_is_bounded_and_in_order(points):
    thin = trace_of(points).points("loss")
    assert len(thin) <= 3 * MAX_PARTS
    assert all(one[0] <= other[0] for one, other in pairwise(thin))
    assert set(thin) <= set(points)
    assert thin[-1:] == tuple(points[-1:])


@given(reports, directions, st.integers(1, TICKS // STEP))
def test_the_best_and_the_last_report_are_exact_at_every_moment_of_the_budget(points, direction, number):
    points = [point for point in points if point[0] <= TICKS]
    whole, thin = (course_of(it, TICKS, direction) for it in (points, trace_of(points).points("loss")))
    assert (thin.at(number * STEP), thin.last(number * STEP)) == (whole.at(number * STEP), whole.last(number * STEP))


def test_counters_and_late_comers_have_no_place_and_the_wanted_have():
    trace = Trace(["val_bpb"])
    trace.add(1, {"step": 1, "epoch": 0, "a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    trace.add(2, {"val_bpb": 5.0, "c": 1.0})
    found = trace.curves(3).points
    assert found == {"val_bpb": ((2, 5.0),), "a": ((1, 1.0),), "b": ((1, 2.0),)}
    assert len(found) == MAX_NAMES


def test_what_has_diverged_counts_as_the_value_before_it():
    trace = Trace(["loss"])
    for tick, value in ((1, math.nan), (2, 3.0), (90, math.inf), (200, math.nan)):
        trace.add(tick, {"loss": value})
    assert trace.points("loss") == ((2, 3.0), (90, 3.0), (200, 3.0))


# Rules


def test_the_median_of_whole_runs_is_the_cutoff_and_the_noise_moves_it():
    past = [flat(level, tree=level) for level in (1, 2, 3, 4, 5)] + [flat(0, tree=9, whole=False)]
    noise = noise_of(past[:-1], 0)
    assert noise == pytest.approx(1 / 0.6745 / 2, rel=1e-4)  # the median of how far they are from the middle one
    for level, ended in ((3, False), (3 + 1.9 * noise, False), (3 + 2.1 * noise, True)):
        course = course_of([(300, level)], 320, Direction.MINIMIZE)
        cut = hopeless(Rule.MEDIAN, course, 320, past, None, Direction.MINIMIZE)
        assert (cut is not None) is ended
    assert (cut.tick, cut.value, cut.others) == (300, level, 5)
    assert cut.cutoff == pytest.approx(3 + 2 * noise)


def test_repeats_say_what_the_noise_is():
    assert noise_of([], 0) == noise_of([flat(3.0)], 0) == 0
    twins = [flat(tree + off, tree=tree) for tree in range(200) for off in (-0.01, 0.01)]
    assert noise_of(twins, 0) < 0.1 * noise_of([it._replace(tree=at) for at, it in enumerate(twins)], 0)


def test_without_repeats_it_is_told_from_how_children_differ_from_their_parents():
    line = [flat(tree, tree=tree)._replace(parent=tree - 1) for tree in range(200)]
    assert noise_of(line, 0) == pytest.approx(1 / 0.6745 / 2, rel=1e-4)
    wrecked = [*line, *(flat(1e9 * n, tree=-n)._replace(parent=9) for n in range(1, 20))]
    assert noise_of(wrecked, 0) == noise_of(line, 0)


def test_asha_keeps_a_quarter_of_those_that_came_so_far_pruned_ones_among_them():
    past = [flat(1.0, tree=n) for n in range(STARTUP)]
    past += [flat(1.0, tree=50 + n, whole=False, end=RUNGS[0]) for n in range(FILLED - STARTUP)]
    behind, level = (course_of([(60, value)], 64, Direction.MINIMIZE) for value in (1.5, 1.0))
    assert hopeless(Rule.ASHA, behind, RUNGS[0], past, None, Direction.MINIMIZE)
    assert not hopeless(Rule.ASHA, level, RUNGS[0], past, None, Direction.MINIMIZE)
    assert not hopeless(Rule.ASHA, behind, RUNGS[0], past[:-1], None, Direction.MINIMIZE)
    late = course_of([(250, 1.5)], 256, Direction.MINIMIZE)
    assert not hopeless(Rule.ASHA, late, RUNGS[1], past, None, Direction.MINIMIZE)  # five of eight came so far


def test_the_parent_rule_looks_at_the_parent_alone():
    past = [flat(level, tree=level) for level in (1, 1, 1, 1, 1, 7)]
    course = course_of([(300, 9.0)], 320, Direction.MINIMIZE)
    assert hopeless(Rule.PARENT, course, 320, past, 1, Direction.MINIMIZE).others == 5
    assert not hopeless(Rule.PARENT, course, 320, past, 7, Direction.MINIMIZE)
    assert not hopeless(Rule.PARENT, course, 320, past, 0, Direction.MINIMIZE)


@given(
    rules, pasts, reports, st.lists(st.floats(0, 1e5), min_size=120, max_size=120), directions, st.integers(0, TICKS)
)
def test_what_is_better_at_every_report_is_not_ended_where_the_worse_is_not(
    rule, drawn, points, gains, direction, tick
):
    past, when = past_of(drawn, direction), moment(rule, tick)
    towards = -1 if direction is Direction.MINIMIZE else 1
    ahead = [(tick, value + towards * gain) for (tick, value), gain in zip(points, gains, strict=False)]
    worse, better = (hopeless(rule, course_of(it, 0, direction), when, past, 1, direction) for it in (points, ahead))
    assert worse or not better


@given(rules, pasts, reports, directions, st.integers(0, TICKS), st.randoms())
def test_the_order_in_which_others_were_recorded_does_not_matter(rule, drawn, points, direction, tick, random):
    past, course = past_of(drawn, direction), course_of(points, 0, direction)
    shuffled = random.sample(past, len(past))
    one, other = (hopeless(rule, course, moment(rule, tick), it, 1, direction) for it in (past, shuffled))
    assert (one is None) == (other is None)


@given(rules, pasts, reports, directions, st.integers(0, TICKS))
def test_the_best_of_all_is_never_ended_and_two_directions_are_mirrors(rule, drawn, points, direction, tick):
    when, other = moment(rule, tick), next(it for it in Direction if it is not direction)
    mirrored = [(tree, whole, [(at, -value) for at, value in curve], end) for tree, whole, curve, end in drawn]
    cut = hopeless(rule, course_of(points, 0, direction), when, past_of(drawn, direction), 1, direction)
    mirror = course_of([(at, -value) for at, value in points], 0, other)
    twin = hopeless(rule, mirror, when, past_of(mirrored, other), 1, other)
    assert (cut is None) == (twin is None)
    if cut:
        bests = [it.course.at(cut.tick) for it in past_of(drawn, direction) if it.course.at(cut.tick) is not None]
        sign = 1 if direction is Direction.MINIMIZE else -1
        assert sign * cut.value > min(bests)


@given(rules, pasts.filter(lambda drawn: sum(whole for _, whole, _, _ in drawn) < STARTUP), reports, directions)
def test_nothing_is_ended_before_enough_whole_runs_are_known(rule, drawn, points, direction):
    past, course = past_of(drawn, direction), course_of(points, 0, direction)
    assert all(hopeless(rule, course, when, past, 1, direction) is None for when in range(0, TICKS, STEP))


def looks(low, high):
    """Reports at every eighth tick at most."""
    points = st.lists(st.tuples(st.integers(0, TICKS // 8), st.floats(low, high)), min_size=8, max_size=60)
    return points.map(lambda found: sorted((8 * at, value) for at, value in found))


@given(rules, st.lists(st.tuples(st.integers(0, 1), looks(0, 0.1)), min_size=9, max_size=12), looks(0.1, 1), directions)
def test_a_replay_of_the_recorded_curve_ends_it_when_its_trainer_would_have(rule, others, points, direction):
    rivals = Rivals([Past(tree, True, course_of(it, TICKS, direction)) for tree, it in others], 1)
    judge, trace, ended = Judge(rule, "loss", direction, lambda: rivals), Trace(["loss"]), None
    for tick in range(0, TICKS + 1, 8):
        for _, value in (point for point in points if point[0] == tick):
            trace.add(tick, {"loss": value})
        if judge.reason(trace, tick):
            ended = moment(rule, tick)
            break
    whole = Whole(RunId.of(b""), NodeId.of(b""), -1, 1, 0.0, 9.0, 10.0, trace_of(points).points("loss"), TICKS + 1)
    before = [
        whole._replace(run=RunId.of(b"%d" % n), tree=tree, parent=None, began=0.0, ended=1.0, points=tuple(it))
        for n, (tree, it) in enumerate(others)
    ]
    _, killed = replay(Race([*before, whole], direction, direction, 1.0, 500), rule)
    again = [it.at * TICKS for it in killed if it.run == whole.run]
    assert again == ([] if ended is None else [ended])


def test_moments_are_fixed_parts_of_the_budget():
    assert [moment(Rule.MEDIAN, tick) for tick in (0, WARM_UP - 1, WARM_UP, WARM_UP + STEP - 1)] == [0, 0, 256, 256]
    assert [moment(Rule.ASHA, tick) for tick in (0, 63, 64, 255, 256, 2000)] == [0, 0, 64, 64, 256, 256]


# Reading steps as they come


@given(st.lists(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=6), max_size=6))
def test_lines_are_read_once_whole_and_in_order_however_they_were_appended(tmp_path_factory, batches):
    path = tmp_path_factory.mktemp("out") / "steps.jsonl"
    steps, found = Steps(path), []
    whole = b"".join(line + b"\n" for batch in batches for line in batch)
    cuts = sorted({len(whole) * n // (len(batches) + 1) for n in range(len(batches) + 2)})
    for start, end in pairwise(cuts):
        with path.open("ab") as file:
            file.write(whole[start:end])
        found += steps.read()
    found += steps.read()
    steps.close()
    assert found == whole.split(b"\n")[:-1]


@pytest.fixture
def steps(tmp_path):
    made = Steps(tmp_path / "steps.jsonl")
    yield made
    made.close()


def test_of_a_flood_the_end_is_read(tmp_path, steps):
    (tmp_path / "steps.jsonl").write_bytes(b"".join(b'{"x":%d}\n' % n for n in range(50_000)))
    found = steps.read()
    assert found[-1] == b'{"x":49999}'
    assert len(found) == MAX_LINES
    assert steps.read() == []


def test_a_line_without_end_is_passed_over_and_the_next_is_read(tmp_path, steps):
    with (tmp_path / "steps.jsonl").open("wb", buffering=0) as file:
        for _ in range(5):
            file.write(b"x" * (3 * LIMIT // 4))
            assert steps.read() == []
        file.write(b"\n" + b"a\n")
        assert steps.read() == [b"a"]


def test_a_file_that_shrinks_or_is_replaced_is_read_from_its_beginning(tmp_path, steps):
    path = tmp_path / "steps.jsonl"
    path.write_bytes(b"one\ntwo\n")
    assert steps.read() == [b"one", b"two"]
    path.write_bytes(b"new\n")
    assert steps.read() == [b"new"]
    (tmp_path / "other").write_bytes(b"other\nmore\n")
    os.replace(tmp_path / "other", path)
    assert steps.read() == [b"other", b"more"]


@pytest.mark.parametrize("place", [os.mkdir, os.mkfifo, lambda path: os.symlink("/etc/passwd", path)])
def test_what_is_no_file_is_not_waited_for(tmp_path, steps, place):
    place(tmp_path / "steps.jsonl")
    assert steps.read() == []


def test_a_folder_that_is_put_in_place_of_the_first_one_is_not_looked_into(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "steps.jsonl").write_bytes(b"secret\n")
    steps = Steps(out / "steps.jsonl")
    out.rename(tmp_path / "gone")
    out.symlink_to(tmp_path / "elsewhere")
    assert steps.read() == []
    steps.close()
