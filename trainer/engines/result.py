"""A result: what a node says became of an order, and whether that can be true. It is checked as if hostile.

    result   [1, run, protocol, [[name, size, blob], …]]

`run` and `protocol` are the canonical bytes of these objects; the run names no artifacts, which travel beside it in
the order in which they are listed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dagstore import BadInput, BlobId, ProtocolId
from dagstore.charter import make_protocol
from dagstore.codec import decode, encode, pack, unpack
from dagstore.curves import ARTIFACT as CURVES
from dagstore.curves import decode_curves
from dagstore.ids import RunId
from dagstore.model import Protocol, Run
from dagstore.printable import printable
from trainer.job import Job
from trainer.report import Report

VERSION = 1
HEADER_BYTES = 8 << 20
NAMES = ("log", "steps", "evaluation", CURVES)
"""What an experiment leaves besides its numbers."""
_SLACK = 1 << 12
"""Bytes that a log may have over its limit, for the line that says what was left out."""
_LONGEST = 1000
"""Characters of a text that people are shown."""


class Artifact(NamedTuple):
    """One that is announced: how many bytes to expect."""

    name: str
    size: int
    blob: BlobId


def encode_result(report: Report) -> bytes:
    listed = [[name, len(data), bytes(BlobId.of(data))] for name, data in report.artifacts.items()]
    return pack([VERSION, encode(report.run), encode(report.protocol), listed])


def announced(header: bytes, log_limit: int) -> tuple[Artifact, ...]:
    """The artifacts that belong to a header; `BadInput` if it is none, or lists what cannot be."""
    _, _, listed = _fields(header)
    try:
        found = tuple(Artifact(name, size, BlobId(blob)) for name, size, blob in listed)
    except (ValueError, TypeError) as error:
        raise BadInput(f"not a result: {error}") from None
    names = [artifact.name for artifact in found]
    if not set(names) <= set(NAMES) or len(set(names)) < len(names):
        raise BadInput("a result lists artifacts that no experiment leaves")
    if any(type(artifact.size) is not int or not 0 <= artifact.size <= log_limit + _SLACK for artifact in found):
        raise BadInput("a result announces more than the charter's log limit lets it keep")
    return found


def check_result(header: bytes, artifacts: Mapping[str, bytes], job: Job, agent: str) -> Report:
    """The report of a job, from a result for it; `BadInput` if that cannot be one."""
    run, protocol, _ = _fields(header)
    listed = announced(header, job.charter.log_limit)
    if [one.blob for one in listed] != [BlobId.of(artifacts.get(one.name, b"")) for one in listed]:
        raise BadInput("artifacts of a result are not those that it announced")
    if CURVES in artifacts:
        decode_curves(artifacts[CURVES])
    report = Report(_run(run), _protocol(protocol), {one.name: artifacts[one.name] for one in listed})
    _check_run(report.run, job, agent)
    _check_protocol(report, job)
    return report


def _fields(header: bytes) -> tuple[bytes, bytes, list[Any]]:
    fields = unpack(header) if len(header) <= HEADER_BYTES else None
    if not isinstance(fields, list) or len(fields) != 4 or fields[0] != VERSION:
        raise BadInput("a result of another version", hint="install the same version of dagstore on every node")
    _, run, protocol, listed = fields
    if not isinstance(run, bytes) or not isinstance(protocol, bytes) or not isinstance(listed, list):
        raise BadInput("not a result")
    return run, protocol, listed


def _run(data: bytes) -> Run:
    run = decode(RunId, data)
    assert isinstance(run, Run)
    return run


def _protocol(data: bytes) -> Protocol:
    protocol = decode(ProtocolId, data)
    assert isinstance(protocol, Protocol)
    return protocol


def _check_run(run: Run, job: Job, agent: str) -> None:
    if (run.node, run.seed) != (job.claim.node, job.taken.ticket.seed) or run.artifacts:
        raise BadInput("a result is of another experiment than was ordered")
    shown = (run.platform, run.runner, run.reason)
    if any(len(text) > _LONGEST or printable(text) != text for text in shown) or not run.runner.startswith(f"{agent}@"):
        raise BadInput("a result says where it comes from in a way that nobody can read")
    if run.seconds < 0 or run.started < 0:
        raise BadInput("a result says that it took less than no time")


def _check_protocol(report: Report, job: Job) -> None:
    """The protocol follows from what was ordered, but for the fingerprint, which is found out where it ran."""
    expected = make_protocol(job.charter, job.tree, report.protocol.fingerprint)
    if report.protocol != expected or report.run.protocol != ProtocolId.of(encode(expected)):
        raise BadInput("a result is measured against another protocol than was ordered")
