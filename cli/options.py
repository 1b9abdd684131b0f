"""Options and kinds of argument that several verbs share."""

from collections.abc import Callable
from typing import Any

import click

from dagstore.errors import BadInput
from dagstore.quantities import parse_duration


class Duration(click.ParamType[float]):
    """Seconds, written as in a charter: `90s`, `5m`, `1h30m`."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value)
        except BadInput as error:
            self.fail(f"{error.message}: {error.hint}", param, ctx)


class Place(click.ParamType[tuple[str, str]]):
    """A file of a node, written NODE:PATH."""

    name = "place"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        node, colon, path = value.partition(":")
        if not (node and colon and path):
            self.fail(f"{value!r} is not NODE:PATH, for instance @best:train.py", param, ctx)
        return node, path


allow = click.option(
    "--allow",
    metavar="WHAT",
    multiple=True,
    help="Let charters have network, data=PATH, environment=NAME, hidden=PATH, limits=SIZE or sandbox=auto|none.",
)
max_budget = click.option(
    "--max-budget", metavar="DURATION", type=Duration(), help="Pass by what may take longer, its grace included."
)
agent = click.option("--agent", metavar="NAME", help="Who acts; without it $DAG_AGENT, else $USER.")
why = click.option("-m", "why", metavar="WHY", default="", help="The hypothesis: what you expect, and why.")
primary = click.option("--primary", metavar="NODE", help="Compose onto this one; by default the best measured of them.")
own = click.option("--own", is_flag=True, help="Only what each donor changed itself, not its whole line.")
only = click.option(
    "--only", metavar="PATH[:REGION]", multiple=True, help="Only changes in there; may be given several times."
)


def where(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where experiments run."""
    engines = click.Choice(["local", "ray", "slurm"])
    engine = click.option("--engine", type=engines, default="local", show_default=True, help="Where they run.")
    ask = click.option(
        "--ask", metavar="NAME=VALUE", multiple=True, help="What an experiment gets of the cluster: num_gpus=1."
    )
    shared = click.option(
        "--shared",
        metavar="DIR",
        help="With slurm: a folder that all nodes see, if they do not see the store's.",
    )
    return engine(ask(shared(command)))
