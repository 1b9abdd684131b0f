"""`dag platforms`: what runs were measured on."""

from collections.abc import Sequence

from cli.app import App, verb
from cli.picture import plot_option, save_picture
from cli.render import NOTHING, line, number, styled, table
from dagstore.columns import PlatformView

COLUMNS = ("platform", "protocol", "metric", "runs", "ranked", "nodes", "noise sd", "from", "environments")


@verb("platforms")
@plot_option("the noise on the platform that is ranked")
def command(app: App, plot: str | None) -> None:
    """List the platforms that runs were measured on, under each protocol; no two rows are ever compared.

    Runs in several environments (interpreter, packages, driver, lock files) are still compared: it says how many
    there are, and in what they differ.

    \b
    dag platforms
    """
    store = app.store(readonly=True)
    if plot:
        app.answer(save_picture(app.path(plot), store.plot.noise), lambda answer: line(answer["plot"]))
        return
    app.answer({"platforms": store.platforms()}, lambda answer: _render(answer["platforms"]))


def _render(platforms: Sequence[PlatformView]) -> None:
    if not platforms:
        line("nothing was measured yet")
        return
    table(COLUMNS, [_row(one) for one in platforms], right=("runs", "ranked", "nodes", "noise sd", "from"))
    shown = next((one for one in platforms if one.shown), None)
    if shown:
        line(styled(f"`dag frontier` is of {shown.short} on {shown.platform}; --protocol and --platform choose", "dim"))


def _row(one: PlatformView) -> tuple[str, ...]:
    counts = (str(one.runs), str(one.ranked), str(one.nodes))
    noise = (number(one.noise.sd), str(one.noise.n))
    count = len(one.environments)
    environments = f"{count}, differ in {', '.join(one.differs)}" if one.differs else str(count) if count else NOTHING
    return (styled(one.platform, "bold" if one.shown else ""), one.short, one.metric, *counts, *noise, environments)
