"""What travels between a driver and a node: orders and results, and what is turned down as it arrives."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagstore import BadInput, BlobId, Charter, NodeId, ProtocolId, Status
from dagstore.charter import make_protocol
from dagstore.claims import Claim
from dagstore.codec import encode, pack, unpack
from dagstore.curves import Curves, encode_curves
from dagstore.model import Direction, Ended, Entry, Mode, Run, Tree
from trainer.engines.box import Box
from trainer.engines.core import Gone, Parcel
from trainer.engines.order import Order, decode_order, encode_order
from trainer.engines.ray_cluster import Arrival
from trainer.engines.result import announced, check_result, encode_result
from trainer.engines.slurm_jobs import gone_of, parse_jobs
from trainer.job import Job
from trainer.report import Report

NODE = NodeId.of(b"node")
LOCKED = Entry("judge.py", Mode.FILE, BlobId.of(b"judge"))
TREE = Tree.of([LOCKED, Entry("train.py", Mode.FILE, BlobId.of(b"train"))])
CHARTER = Charter("python train.py", "loss", Direction.MINIMIZE, locked=("judge.py",), log_limit=1000)
ORDER = Order(
    store="store",
    folder=Path("/a b/.dag"),
    root=Path("/a b"),
    node=NODE,
    tree=TREE,
    ticket=7,
    seed=5,
    isolation=True,
    token=9,
    agent="me",
    started=1_000,
)
PROTOCOL = make_protocol(CHARTER, TREE, "data 1")
RUN = Run(
    node=NODE,
    protocol=ProtocolId.of(encode(PROTOCOL)),
    platform="H100",
    status=Status.OK,
    metrics={"loss": 0.5},
    started=2_000,
    seconds=1.0,
    runner="me@node1:4",
    seed=5,
    ending=Ended.FINISHED,
)
REPORT = Report(RUN, PROTOCOL, {"log": b"said", "steps": b"{}"})


@pytest.fixture
def job(tmp_path):
    return Job(NODE, CHARTER, TREE, tmp_path / "store", tmp_path, ORDER.taken, ORDER.mark)


def check(report: Report, job: Job, artifacts=None):
    return check_result(encode_result(report), report.artifacts if artifacts is None else artifacts, job, "me")


def take_in(arrival: Arrival, pieces) -> None:
    for piece in pieces:
        arrival.take_in(b"a", piece)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    texts,
    st.binary(min_size=1, max_size=30).map(lambda raw: "/" + raw.hex()),
    st.integers(0, 2**40),
    st.dictionaries(texts, texts, max_size=3),
)
def test_an_order_is_read_as_it_was_written(agent, path, number, told):
    order = replace(ORDER, agent=agent, folder=Path(path), ticket=number, token=number + 1, told=told)
    assert decode_order(encode_order(order)) == order


@given(st.binary(max_size=200))
def test_bytes_that_are_no_order_are_refused(data):
    with pytest.raises(BadInput):
        decode_order(data)


def test_an_order_of_another_version_says_what_to_do():
    fields = unpack(encode_order(ORDER))
    with pytest.raises(BadInput) as refused:
        decode_order(pack([2, *fields[1:]]))
    assert "same version" in refused.value.hint


def test_a_node_knows_the_ticket_and_the_claim_that_it_works_for():
    assert ORDER.taken.claim == Claim(9, NODE, "me", "measure", 1_000, 0, 7)
    ticket = ORDER.taken.ticket
    assert (ticket.number, ticket.node, ticket.seed, ticket.isolation) == (7, NODE, 5, True)


def test_a_result_that_can_be_true_is_the_report(job):
    assert check(REPORT, job) == REPORT
    followed = REPORT._replace(artifacts={**REPORT.artifacts, "curve": encode_curves(Curves(9, {"loss": ((3, 0.5),)}))})
    assert check(followed, job) == followed


def test_a_curve_that_is_none_is_refused(job):
    with pytest.raises(BadInput):
        check(REPORT._replace(artifacts={"curve": b"said"}), job)


@pytest.mark.parametrize(
    "change",
    [
        {"node": NodeId.of(b"another")},
        {"seed": 8},
        {"protocol": ProtocolId.of(b"easier")},
        {"runner": "you@node1:4"},
        {"runner": "me@\x1b[2J"},
        {"platform": "H100\u202e"},
        {"platform": "x" * 2_000},
        {"seconds": -1.0},
        {"artifacts": {"log": BlobId.of(b"another's")}},
    ],
)
def test_a_result_that_cannot_be_true_is_refused(job, change):
    with pytest.raises(BadInput):
        check(REPORT._replace(run=RUN._replace(**change)), job)


@pytest.mark.parametrize(
    "change", [{"command": "true"}, {"metric": "score"}, {"locked": ()}, {"budget": 1.0}, {"evaluate": "sh judge.py"}]
)
def test_a_result_against_another_protocol_is_refused(job, change):
    easier = PROTOCOL._replace(**change)
    with pytest.raises(BadInput):
        check(Report(RUN._replace(protocol=ProtocolId.of(encode(easier))), easier, {}), job)


@pytest.mark.parametrize("artifacts", [{}, {"log": b"said"}, {"log": b"SAID", "steps": b"{}"}])
def test_artifacts_that_are_not_those_announced_are_refused(job, artifacts):
    with pytest.raises(BadInput):
        check(REPORT, job, artifacts)


@pytest.mark.parametrize("artifacts", [{"log": b"x" * 10_000}, {"../log": b""}, {"weights": b""}])
def test_more_than_an_experiment_may_leave_is_refused_when_it_is_announced(artifacts):
    with pytest.raises(BadInput):
        announced(encode_result(REPORT._replace(artifacts=artifacts)), CHARTER.log_limit)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_result_are_refused(data):
    with pytest.raises(BadInput):
        announced(data, CHARTER.log_limit)


def test_a_parcel_arrives_in_pieces():
    arrival = Arrival(CHARTER.log_limit)
    arrival.take_in(b"h", encode_result(REPORT))
    take_in(arrival, [b"sa", b"id", b"{}"])
    assert arrival.landed() == Parcel(encode_result(REPORT), REPORT.artifacts)


@pytest.mark.parametrize("pieces", [[b"said", b"{}", b"x"], [b"said!"], [b"x" * 5_000]])
def test_more_pieces_than_announced_are_refused_as_they_come(pieces):
    arrival = Arrival(CHARTER.log_limit)
    arrival.take_in(b"h", encode_result(REPORT))
    with pytest.raises(BadInput):
        take_in(arrival, pieces)


def test_a_stream_that_ends_without_a_header_brings_no_parcel():
    assert isinstance(Arrival(1000).landed(), Gone)


def test_a_box_follows_no_link_and_reads_no_more_than_was_announced(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"said")
    box = Box(tmp_path / "box")
    (box.folder / "kept").mkdir(parents=True)
    (box.folder / "kept" / "log").symlink_to(secret)
    (box.folder / "kept" / "steps").write_bytes(b"{}" * 100)
    assert box.artifacts(encode_result(REPORT), CHARTER.log_limit) == {"log": b"", "steps": b"{}"}


def test_a_box_gives_only_files_that_are_whole(tmp_path):
    files = {BlobId.of(data): data for data in (b"judge", b"train")}
    box = Box(tmp_path / "box")
    box.fill(ORDER, files.__getitem__)
    assert box.order() == ORDER
    assert box.file(LOCKED.blob) == b"judge"
    (box.folder / "files" / str(LOCKED.blob)).write_bytes(b"other")
    with pytest.raises(BadInput):
        box.file(LOCKED.blob)


def test_jobs_are_read_as_squeue_lists_them():
    said = "12|RUNNING|dag-a-1\n 13|PENDING|a|b\n\nslurm_load_jobs error\n12_3|FAILED|array\n"
    assert [tuple(job) for job in parse_jobs(said)] == [("12", "RUNNING", "dag-a-1"), ("13", "PENDING", "a|b")]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("OUT_OF_MEMORY", Status.OOM),
        *((state, Status.LOST) for state in ("NODE_FAIL", "PREEMPTED", "TIMEOUT", "CANCELLED", "FAILED", "")),
    ],
)
def test_what_a_job_without_a_result_means(state, status):
    assert gone_of(state).status is status
