"""An order: everything that a node must know to run one experiment, as canonical msgpack.

    order    [1, store, folder, root, node, tree, ticket, seed, isolation, token, agent, started, cpus, sharers,
              [[name, text], …]]

`store` is its uuid, `tree` the tree's canonical bytes, `folder` and `root` are paths as bytes. The files themselves
travel beside it. Both ends must have the same version; an order of another one is refused by name.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dagstore import BadInput, NodeId
from dagstore.claims import MEASURE, Claim
from dagstore.codec import decode, encode, pack, unpack
from dagstore.ids import TreeId
from dagstore.model import Tree
from dagstore.tickets import Taken, Ticket

VERSION = 1


@dataclass(frozen=True, slots=True)
class Order:
    """Measure `node` for a ticket, with a seed, in `isolation` or not, under a claim.

    `folder` is the store's, `root` the project's, where they are seen. `cpus` is how many cores are its own, 0 for all
    that it may use; `sharers` how many share its GPU. `told` are variables of the contract.
    """

    store: str
    folder: Path
    root: Path
    node: NodeId
    tree: Tree
    ticket: int
    seed: int
    isolation: bool
    token: int
    agent: str
    started: int
    cpus: int = 0
    sharers: int = 1
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """What the experiment's processes are known by."""
        return f"{self.store}-{self.token}"

    @property
    def taken(self) -> Taken:
        """The ticket in hand, as far as a node needs to know it."""
        ticket = Ticket(
            number=self.ticket,
            node=self.node,
            priority=0,
            agent=self.agent,
            queued=self.started,
            token=self.token,
            again=self.seed,
            isolation=self.isolation,
        )
        return Taken(ticket, Claim(self.token, self.node, self.agent, MEASURE, self.started, 0, self.ticket))


def encode_order(order: Order) -> bytes:
    told = [[name, order.told[name]] for name in sorted(order.told)]
    who = [order.ticket, order.seed, order.isolation, order.token, order.agent, order.started]
    paths = [os.fsencode(order.folder), os.fsencode(order.root)]
    row = [order.store, *paths, bytes(order.node), encode(order.tree), *who, order.cpus, order.sharers, told]
    return pack([VERSION, *row])


def decode_order(data: bytes) -> Order:
    """The order; `BadInput` unless `data` is exactly what `encode_order` writes."""
    fields = unpack(data)
    if not isinstance(fields, list) or not fields or fields[0] != VERSION:
        raise BadInput("an order of another version", hint="install the same version of dagstore on every node")
    try:
        order = _order(*fields[1:])
        again = encode_order(order)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"not an order: {error}") from None
    if again != data:
        raise BadInput("not a canonical order")
    return order


def _order(store: str, folder: bytes, root: bytes, node: bytes, tree: bytes, *rest: Any) -> Order:
    ticket, seed, isolation, token, agent, started, cpus, sharers, told = rest
    whole = decode(TreeId, tree)
    assert isinstance(whole, Tree)
    return Order(
        store=store,
        folder=Path(os.fsdecode(folder)),
        root=Path(os.fsdecode(root)),
        node=NodeId(node),
        tree=whole,
        ticket=ticket,
        seed=seed,
        isolation=isolation,
        token=token,
        agent=agent,
        started=started,
        cpus=cpus,
        sharers=sharers,
        told=dict(told),
    )
