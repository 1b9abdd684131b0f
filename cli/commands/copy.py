"""`dag copy`: a copy of the store, made while others write to it."""

import click

from cli.app import App, verb
from cli.render import counted, line, progress, size
from dagstore.copying import Copied
from dagstore.errors import Damaged


@verb("copy")
@click.argument("place", metavar="DEST")
@click.option("--link", is_flag=True, help="Share the files of large blobs by hard links where that can be.")
def command(app: App, place: str, link: bool) -> None:
    """Copy the store to DEST/.dag (or DEST, if it is called .dag) as it is now; others may go on writing.

    The copy is compact, checked, and a store of its own. Directories of workspaces are not copied.

    \b
    Example:
      dag copy /backup/today
    """
    store = app.store(readonly=True)
    with progress("copy") as show:
        copied = store.copy(app.path(place), link=link, progress=show)
    app.answer(copied, _render)
    if copied.missing or copied.findings:
        raise Damaged(
            f"{copied.store} lacks {counted(len(copied.missing), 'file')} and has {len(copied.findings)} found wrong",
            hint="the store itself is damaged: run `dag fsck --full` on it",
        )


def _render(copied: Copied) -> None:
    line(f"copied {counted(copied.objects, 'object')} to {copied.store}")
    line(f"log {size(copied.log)}, index {size(copied.index)}, {counted(copied.files, 'file')} {size(copied.bytes)}")
