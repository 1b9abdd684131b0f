"""`dag` without a verb: where you are, and what to do next."""

from dataclasses import dataclass
from typing import Any

from cli.app import App, verb
from cli.render import counted, line, number, styled
from dagstore import DagError, NotFound, Store
from dagstore.store import find_folder
from dagstore.workspaces import Workspace


@dataclass(frozen=True, slots=True)
class Here:
    """A workspace as far as it concerns who stands in it; `changed` is None where that cannot be told.

    `short` names what it was sealed as, or else its parent.
    """

    path: str
    parent: str
    agent: str
    why: str
    sealed: str | None
    short: str
    changed: bool | None


@verb("where")
def command(app: App) -> None:
    """Say where you are, the best so far, and what to do next.

    \b
    Example:
      dag -C path/to/project
    """
    try:
        find_folder(app.directory)
    except NotFound:
        app.answer({"store": None, "directory": app.directory, "next": ["dag init"]}, _render_nowhere)
        return
    store = app.store(readonly=True)
    app.answer(_where(app, store), _render)


def _where(app: App, store: Store) -> dict[str, Any]:
    frontier = store.frontier(top=1)
    best = frontier.nodes[0] if frontier.nodes else None
    tickets = store.tickets()
    here = _here(app, store)
    return {
        "store": store.folder,
        "nodes": store.count(),
        "queued": len(tickets),
        "claims": len(store.claims()),
        "metric": frontier.metric,
        "best": best and {"id": best.id, "short": best.short, "estimate": best.estimate, "message": best.message},
        "workspace": here,
        "next": _next(here, queued=bool(tickets), measured=best is not None),
    }


def _here(app: App, store: Store) -> Here | None:
    try:
        found = store.workspace(app.directory)
    except NotFound:
        return None
    sealed = str(found.sealed) if found.sealed else None
    short = store.short(found.sealed or found.parent)
    return Here(found.path, str(found.parent), found.agent, found.why, sealed, short, _changed(store, found))


def _changed(store: Store, workspace: Workspace) -> bool | None:
    if workspace.sealed:
        return None
    try:
        return store.peek(workspace.path)[0] != workspace.parent
    except DagError:
        return None  # a file that cannot be recorded: sealing will say which, and why


def _next(here: Here | None, *, queued: bool, measured: bool) -> list[str]:
    """Commands that make sense now, the likeliest first."""
    if here and here.sealed:
        return [f"dag run {here.short}", f"dag spawn {here.short}"]
    if here:
        return ['dag seal -m "WHY"'] if here.changed is not False else ["edit a file here", 'dag seal -m "WHY"']
    first = ["dag train --until-idle"] if queued else []
    return [*first, *(['dag spawn @best -m "WHY"', "dag frontier"] if measured else ["dag run @seed"])]


def _render_nowhere(where: dict[str, Any]) -> None:
    line(f"{where['directory']} is not in a store")
    line("next: ", styled("dag init", "bold"), "    makes one for the project here")


def _render(where: dict[str, Any]) -> None:
    counts = f"{counted(where['nodes'], 'node')}, {where['queued']} in line, {counted(where['claims'], 'claim')}"
    line(f"store      {where['store']}: {counts}")
    best = where["best"]
    if best:
        line("best       ", styled(best["short"], "bold"), f" {where['metric']} {number(best['estimate'])}")
        line(f"           {best['message']}")
    else:
        line("best       nothing was measured yet")
    if where["workspace"]:
        _render_workspace(where["workspace"])
    for at, step in enumerate(where["next"]):
        line("next       " if at == 0 else "           ", styled(step, "bold"))


def _render_workspace(here: Here) -> None:
    line(f"workspace  {here.path}, a child of {here.parent[:8]}{_state(here)}")
    if here.why:
        line(f"           {here.why}")


def _state(here: Here) -> str:
    if here.sealed:
        return f", sealed as {here.short}"
    return {True: ", changed", False: ", unchanged", None: ""}[here.changed]
