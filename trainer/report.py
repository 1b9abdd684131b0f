"""Says what is recorded of an experiment: the run, what it is comparable with, and the files that are kept."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from dagstore import Charter, ProtocolId, Status
from dagstore.charter import make_protocol
from dagstore.claims import Claim
from dagstore.codec import encode
from dagstore.curves import ARTIFACT, encode_curves
from dagstore.model import Ended, Protocol, Run, Tree
from trainer.ending import Ending
from trainer.job import Job, read_steps, tampered
from trainer.metrics import Metrics, collect
from trainer.trial import Outcome
from trainer.verdict import Verdict, judge, judge_evaluated, judge_evaluation, shortened

if TYPE_CHECKING:
    from trainer.engines.core import Gone

PEAK_HOST = "peak_host_bytes"
PEAK_DEVICE = "peak_device_bytes"
"""Metrics of every run, measured by the trainer: the most memory that all its processes, or its devices, had in use."""
REPORTED = "reported_"
"""What stands before a number of the experiment's own where the trainer or the evaluation measured one of that name."""


class Report(NamedTuple):
    """What a trainer tells the store: `artifacts` by name, such as `log`, `steps` and `curve`."""

    run: Run
    protocol: Protocol
    artifacts: dict[str, bytes]


def report_of(job: Job, outcome: Outcome, platform: str, runner: str) -> Report:
    """What became of an experiment whose files still lie where it left them."""
    ending = outcome.ending
    protocol = make_protocol(job.charter, job.tree, outcome.fingerprint)
    verdict, metrics = _judged(job, outcome)
    run = Run(
        node=job.claim.node,
        protocol=ProtocolId.of(encode(protocol)),
        platform=platform,
        status=verdict.status,
        metrics=_beside(metrics, _peaks(ending)),
        started=outcome.started,
        seconds=ending.seconds,
        runner=runner,
        seed=job.taken.ticket.seed,
        exit_code=ending.exit_code if ending.signal is None else -ending.signal,
        reason=verdict.reason,
        environment=outcome.environment,
        ending=verdict.ending,
    )
    return Report(run, protocol, _artifacts(outcome, job))


def _judged(job: Job, outcome: Outcome) -> tuple[Verdict, dict[str, float]]:
    """The verdict, and the numbers that are recorded."""
    ending, changed = outcome.ending, list(tampered(job))
    own = collect(ending.log, job.metrics, job.steps)
    if not job.charter.evaluate:
        verdict = judge(ending, own, job.charter.metric, changed)
        return verdict, _kept(own, verdict.status)
    failed = judge_evaluated(ending, changed)
    if failed or not outcome.evaluation:
        verdict = failed or Verdict(Status.INFRA, "its evaluation was lost", Ended.EVALUATION_FAILED)
        return verdict, _aside(_kept(own, verdict.status), {job.charter.metric})
    found = outcome.evaluation
    verdict = judge_evaluation(found.ending, found.metrics, job.charter.metric)
    return verdict, _beside(_aside(own.values, {job.charter.metric}), found.metrics.values)


def _beside(own: Mapping[str, float], better: Mapping[str, float]) -> dict[str, float]:
    """Both; where they have the same name, the experiment's own is kept as `reported_NAME`."""
    return {**_aside(own, better), **better}


def _aside(own: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    taken = set(names)
    return {f"{REPORTED}{name}" if name in taken else name: value for name, value in own.items()}


def _peaks(ending: Ending) -> dict[str, float]:
    """What was measured from outside, where it is known."""
    found = {PEAK_HOST: ending.host_peak, PEAK_DEVICE: ending.device_peak}
    return {name: float(value) for name, value in found.items() if value > 0}


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
        ending=Ended.TRAINER_LOST,
    )
    return Report(run, protocol, {})


def report_of_gone(job: Job, gone: "Gone", platform: str, runner: str, log: bytes) -> Report:
    """What is known of an experiment that did not come back from where it ran; `log` is what it was heard to say."""
    protocol = make_protocol(job.charter, job.tree, "")
    run = Run(
        node=job.claim.node,
        protocol=ProtocolId.of(encode(protocol)),
        platform=platform,
        status=gone.status,
        metrics={},
        started=job.claim.started,
        seconds=0.0,
        runner=runner,
        seed=job.claim.ticket,
        reason=shortened(gone.reason),
        ending=gone.ending,
    )
    return Report(run, protocol, {"log": log} if log else {})


def _kept(metrics: Metrics, status: Status) -> dict[str, float]:
    """Numbers of an experiment that altered its evaluator are worth nothing."""
    return {} if status is Status.TAMPERED else metrics.values


def _artifacts(outcome: Outcome, job: Job) -> dict[str, bytes]:
    steps, curves = read_steps(job), outcome.curves
    found = {
        "log": outcome.ending.log,
        "steps": steps or None,
        ARTIFACT: encode_curves(curves) if curves and curves.points else None,
        "evaluation": outcome.evaluation.ending.log if outcome.evaluation else None,
    }
    return {name: data for name, data in found.items() if data is not None}
