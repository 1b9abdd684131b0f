"""Options and kinds of argument that several verbs share."""

import click

from dagstore.charter import parse_duration
from dagstore.errors import BadInput


class Duration(click.ParamType[float]):
    """Seconds, written as in a charter: `90s`, `5m`, `1h30m`."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value)
        except BadInput as error:
            self.fail(f"{error.message}: {error.hint}", param, ctx)


agent = click.option("--agent", metavar="NAME", help="Who acts; without it $DAG_AGENT, else $USER.")
why = click.option("-m", "why", metavar="WHY", default="", help="The hypothesis: what you expect, and why.")
