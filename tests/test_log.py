"""Frames of the log: what was written is read, what was cut off does not count, and nothing damaged is ever read."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagstore.errors import Damaged
from dagstore.log import HEADER, MAGIC, Frame, Gap, frames, read_frame, read_head, transactions, write_frame

RECORDS = st.lists(st.binary(max_size=300), max_size=8)
KEYS = st.binary(min_size=1, max_size=20)
OPS = st.lists(st.tuples(st.sampled_from(["meta", "state"]), KEYS, st.none() | st.binary(max_size=50)), max_size=4)


@st.composite
def commits(draw, most=5):
    """Transactions as lists of frames; a frame is (records, ops)."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=most))
    return [[(draw(RECORDS), draw(OPS)) for _ in range(size)] for size in sizes]


def write_log(log, *, start=0, number=1, synced=True):
    """The bytes of transactions, and their frames as they should be read."""
    data, written, durable = b"", [], start
    for transaction in log:
        for position, (records, ops) in enumerate(transaction, start=1):
            at, last = start + len(data), position == len(transaction)
            frame = write_frame(at, number, records, ops, last=last, durable=durable)
            written.append(Frame(at, len(frame), number, last, durable, records, ops))
            data += frame
            number += len(records)
        if synced:
            durable = start + len(data)
    return data, written


def reader(data):
    return lambda offset, length: data[offset : offset + length]


def grouped(written):
    """The frames of each transaction."""
    groups = [[]]
    for frame in written:
        groups[-1].append(frame)
        if frame.last:
            groups.append([])
    return groups[:-1]


def flip(data, bit):
    bent = bytearray(data)
    bent[bit // 8] ^= 1 << bit % 8
    return bytes(bent)


@given(commits())
def test_what_was_written_is_read(log):
    data, written = write_log(log)
    assert list(frames(reader(data))) == written
    assert list(transactions(reader(data))) == grouped(written)
    for frame in written:
        assert read_frame(reader(data), frame.offset) == frame
        assert read_head(reader(data), frame.offset) == (frame.size, frame.first, frame.last)


@given(commits(), st.integers(0, 3))
def test_reading_may_begin_at_any_frame(log, skipped):
    data, written = write_log(log)
    start = written[skipped % len(written)].offset
    assert list(frames(reader(data), start)) == [frame for frame in written if frame.offset >= start]


@given(commits())
def test_room_that_was_reserved_means_nothing(log):
    data, written = write_log(log)
    assert list(transactions(reader(data + bytes(5000)))) == grouped(written)


@settings(max_examples=20, deadline=None)
@given(commits(most=3))
def test_a_log_that_was_cut_off_anywhere_holds_the_transactions_before(log):
    data, written = write_log(log)
    for size in range(len(data)):
        whole = [group for group in grouped(written) if group[-1].end <= size]
        assert list(transactions(reader(data[:size]))) == whole
        padded = data[:size] + bytes(len(data))
        again = [group for group in grouped(written) if padded.startswith(data[: group[-1].end])]
        assert list(transactions(reader(padded))) == again


@settings(max_examples=50, deadline=None)
@given(commits(), st.data())
def test_no_changed_bits_are_ever_read(log, drawn):
    """Any bits anywhere: every frame that is read is one that was written, where it was written."""
    data, written = write_log(log)
    bits = drawn.draw(st.lists(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=3, unique=True))
    bent = data
    for bit in bits:
        bent = flip(bent, bit)
    found = [item for item in frames(reader(bent)) if isinstance(item, Frame)]
    touched = {frame.offset for frame in written for bit in bits if frame.offset <= bit // 8 < frame.end}
    assert found == [frame for frame in written if frame.offset not in touched]


@settings(max_examples=50, deadline=None)
@given(commits(), st.binary(min_size=1, max_size=200), st.data())
def test_no_overwritten_bytes_are_ever_read(log, junk, drawn):
    data, written = write_log(log)
    at = drawn.draw(st.integers(0, len(data) - 1))
    bent = data[:at] + junk + data[at + len(junk) :]
    for item in frames(reader(bent)):
        if isinstance(item, Frame) and item.end <= len(data):
            assert item in written


@given(commits(most=4), st.data())
def test_damage_is_a_gap_and_what_follows_is_read(log, drawn):
    """A frame that a later one knew to be durable is missed; the other frames still count."""
    data, written = write_log([*log, [([b"later"], [])]])
    victims = [frame for group in grouped(written)[:-1] for frame in group]
    victim = drawn.draw(st.sampled_from(victims))
    bent = flip(data, 8 * victim.offset + drawn.draw(st.integers(0, 8 * victim.size - 1)))
    found = list(transactions(reader(bent)))
    assert [item for item in found if isinstance(item, Gap)] == [Gap(victim.offset, victim.end)]
    read = [frame for item in found if not isinstance(item, Gap) for frame in item]
    assert read == [frame for frame in written if frame is not victim]


@given(commits(most=3), commits(most=3), st.data())
def test_what_nobody_knew_to_be_durable_was_a_write_that_was_cut_off(before, after, drawn):
    """Its pages may come to the disk in any order, so that a later part is there and an earlier one is not."""
    data, written = write_log(before)
    torn, lost = write_log(after, start=len(data), number=written[-1].first + len(written[-1].records), synced=False)
    victim = drawn.draw(st.sampled_from(lost))
    bent = data + torn[: victim.offset - len(data)] + bytes(victim.size) + torn[victim.end - len(data) :]
    whole = [group for group in grouped([*written, *lost]) if group[-1].offset < victim.offset]
    assert list(transactions(reader(bent))) == whole


def test_a_frame_counts_only_where_it_was_written():
    """Else the bytes of a file that were recorded, a log perhaps, could be taken for frames after damage."""
    inner = write_frame(0, 1, [b"not a record"], [], last=True, durable=0)
    data, written = write_log([[([b"a"], [])], [([inner * 3], [])], [([b"b"], [])]])
    bent = flip(data, 8 * (written[1].offset + 5))
    assert [item for item in frames(reader(bent)) if isinstance(item, Frame)] == [written[0], written[2]]


def test_a_gap_may_be_longer_than_one_look_ahead():
    data, written = write_log([[([b"a"], [])], [([bytes(3 << 20)], [])], [([b"b"], [])]])
    bent = flip(data, 8 * (written[1].offset + HEADER + 100))
    assert list(frames(reader(bent))) == [written[0], Gap(written[1].offset, written[1].end), written[2]]


@pytest.mark.parametrize("at", [0, 1, 5, HEADER - 1])
def test_there_is_no_frame_where_too_little_is_left(at):
    data, _ = write_log([[([b"a"], [])]])
    with pytest.raises(Damaged, match="no frame at byte 0"):
        read_frame(reader(data[:at]), 0)
    assert read_head(reader(data[:at]), 0) is None


def test_a_message_says_where():
    data, written = write_log([[([b"a"], [])], [([b"b"], [])]])
    at = written[1].offset
    with pytest.raises(Damaged, match=f"byte {at} of the log is damaged"):
        read_frame(reader(flip(data, 8 * (at + HEADER))), at)
    with pytest.raises(Damaged, match=f"no frame at byte {at + 1}"):
        read_frame(reader(data), at + 1)


def test_a_magic_by_itself_is_no_frame():
    data, written = write_log([[([b"a"], [])]])
    noise = MAGIC * 50
    assert list(frames(reader(noise))) == []
    shifted, later = write_log([[([b"b"], [])]], start=len(data) + len(noise))
    found = list(frames(reader(data + noise + shifted)))
    assert found == [*written, Gap(len(data), len(data) + len(noise)), *later]
    assert [len(list(group)) for _, group in itertools.groupby(found, type)] == [1, 1, 1]
