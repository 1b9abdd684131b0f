"""Says what is recorded of an experiment: the run, what it is comparable with, and the files that are kept."""

from typing import NamedTuple

from dagstore import Charter, ProtocolId, Status
from dagstore.charter import make_protocol
from dagstore.claims import Claim
from dagstore.codec import encode
from dagstore.model import Protocol, Run, Tree
from trainer.job import Job, read_steps, tampered
from trainer.metrics import Metrics, collect
from trainer.process import Ending
from trainer.trial import Outcome
from trainer.verdict import judge


class Report(NamedTuple):
    """What a trainer tells the store: `artifacts` by name, `log` and `steps`."""

    run: Run
    protocol: Protocol
    artifacts: dict[str, bytes]


def report_of(job: Job, outcome: Outcome, platform: str, runner: str) -> Report:
    """What became of an experiment whose files still lie where it left them."""
    ending = outcome.ending
    protocol = make_protocol(job.charter, job.tree, outcome.fingerprint)
    metrics = collect(ending.log, job.metrics, job.steps)
    status, reason = judge(ending, metrics, job.charter.metric, list(tampered(job)))
    run = Run(
        node=job.claim.node,
        protocol=ProtocolId.of(encode(protocol)),
        platform=platform,
        status=status,
        metrics=_kept(metrics, status),
        started=outcome.started,
        seconds=ending.seconds,
        runner=runner,
        seed=job.taken.ticket.number,
        exit_code=ending.exit_code if ending.signal is None else -ending.signal,
        reason=reason,
        environment=outcome.environment,
    )
    return Report(run, protocol, _artifacts(ending, job))


def report_of_lost(claim: Claim, charter: Charter, tree: Tree, platform: str, successor: str) -> Report:
    """What is known of an experiment whose trainer vanished."""
    protocol = make_protocol(charter, tree, "")
    run = Run(
        node=claim.node,
        protocol=ProtocolId.of(encode(protocol)),
        platform=platform,
        status=Status.LOST,
        metrics={},
        started=claim.started,
        seconds=0.0,
        runner=claim.agent,
        seed=claim.ticket,
        reason=f"its trainer vanished; taken over by {successor}",
    )
    return Report(run, protocol, {})


def _kept(metrics: Metrics, status: Status) -> dict[str, float]:
    """Numbers of an experiment that altered its evaluator are worth nothing."""
    return {} if status is Status.TAMPERED else metrics.values


def _artifacts(ending: Ending, job: Job) -> dict[str, bytes]:
    steps = read_steps(job)
    return {"log": ending.log} | ({"steps": steps} if steps else {})
