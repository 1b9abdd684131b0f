"""Says what a running experiment is compared with: the curves that the store has of its protocol and platform."""

from functools import partial

from dagstore import ProtocolId, Store
from dagstore.charter import make_protocol
from dagstore.codec import encode
from dagstore.pruners import Rule
from trainer.follower import Follower, Judge
from trainer.job import Job
from trainer.steps import Steps


class Pruner:
    """Follows the experiments of one worker. Without a store at hand it ends none."""

    def __init__(self, store: Store | None, platform: str) -> None:
        self._store = store
        self._platform = platform

    def follow(self, job: Job, fingerprint: str) -> Follower:
        """A follower of an experiment that is about to begin, whose folders are there."""
        name, _ = job.charter.followed
        wanted = (name, job.charter.metric)
        return Follower(Steps(job.steps), job.charter.budget, wanted, self._judge(job, fingerprint))

    def _judge(self, job: Job, fingerprint: str) -> Judge | None:
        charter = job.charter
        if charter.prune == "none" or self._store is None:
            return None
        name, direction = charter.followed
        protocol = ProtocolId.of(encode(make_protocol(charter, job.tree, fingerprint)))
        rivals = partial(
            self._store.rivals, job.claim.node, name, direction, protocol=protocol, platform=self._platform
        )
        return Judge(Rule(charter.prune), name, direction, rivals)
