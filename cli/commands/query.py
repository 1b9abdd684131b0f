"""`dag query`: the nodes for which a condition holds."""

import click

from cli.app import App, verb
from cli.listing import list_nodes

EPILOG = """\b
A condition is written as in Python, with and, or, not, == != < <= > >=, in, + - * /:
  nodes    id message agent generation status runs estimate low high names age
           adopted (how many parents it adopted); 2 * days, hours, minutes
  metrics  by name: the mean over the runs of a node that the default ranking counts;
           metric('loss/val') where the name is no word
  runs     platform protocol runner seed reason exit_code: of any run of the node;
           seconds: their mean
  texts    'part' in message, message.lower().startswith('fix'), status in ('oom', 'timeout')
  asking   touches('train.py:MLP') descends_from('@best') adopts('@best') improves()
           missing(val_bpb)
\b
A platform is called by whole words of its name: platform == 'H100'.
Comparisons with what is not known are false."""


@verb("query", epilog=EPILOG)
@click.argument("where", metavar="CONDITION")
@click.option("--limit", type=click.IntRange(min=1), default=30, show_default=True, help="At most so many nodes.")
@click.option("--platform", metavar="P", help="Metrics of this platform, not of the one with the most runs.")
def command(app: App, where: str, limit: int, platform: str | None) -> None:
    """List the nodes for which CONDITION holds, newest first.

    \b
    dag query "val_bpb < 0.98 and platform == 'H100' and touches('train.py:MLP')"
    """
    found = app.store(readonly=True).query(where, platform=platform, newest_first=True)
    shown = found[:limit]
    app.answer({"count": len(found), "nodes": shown}, lambda answer: list_nodes(answer["nodes"]))
    if len(found) > limit:
        app.say(f"the latest {limit} of {len(found):,}; for more: --limit {10 * limit}")
