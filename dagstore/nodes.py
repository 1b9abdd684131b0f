"""Many nodes as one value that reads them only when they are looked at."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, overload

from dagstore.ids import NodeId
from dagstore.shown import Rows, flat_rows, table

if TYPE_CHECKING:
    import pandas

    from dagstore.views import NodeView

PAGE = 500
SHOWN = 50


class Numbers(Protocol):
    """Nodes by number, in the order of the answer."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[int]: ...
    def __getitem__(self, index: Any) -> Any: ...


class Nodes(Sequence["NodeView"]):
    """A sequence of nodes. Which nodes are in it was settled when it was asked for; what is known of each is read anew.

    It may have millions of members: `len` and slices are cheap, and iterating reads them by the page.
    """

    def __init__(
        self,
        numbers: Numbers,
        view: Callable[[Iterable[int]], "Rows[NodeView]"],
        name: Callable[[list[int]], Iterable[NodeId]],
    ) -> None:
        self._numbers = numbers
        self._view = view
        self._name = name

    def __len__(self) -> int:
        return len(self._numbers)

    def __bool__(self) -> bool:
        return next(iter(self._numbers), 0) > 0

    def __iter__(self) -> "Iterator[NodeView]":
        for page in self._pages():
            yield from self._view(page)

    @overload
    def __getitem__(self, index: int) -> "NodeView": ...
    @overload
    def __getitem__(self, index: slice) -> "Nodes": ...
    def __getitem__(self, index: int | slice) -> "NodeView | Nodes":
        if isinstance(index, slice):
            return Nodes(self._numbers[index], self._view, self._name)
        return self._view([self._numbers[index]])[0]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Nodes, list, tuple)):
            return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Nodes: {len(self)}>"

    def ids(self) -> Iterator[NodeId]:
        """The ids alone, in the same order, at a fraction of the cost."""
        for page in self._pages(PAGE * 20):
            yield from self._name(page)

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row a node and one column a field."""
        import pandas

        return pandas.DataFrame(flat_rows(self))

    def _repr_html_(self) -> str:
        more = len(self) - SHOWN
        return table(flat_rows(self[:SHOWN])) + (f"<p>and {more} more</p>" if more > 0 else "")

    def _pages(self, size: int = PAGE) -> Iterator[list[int]]:
        numbers = iter(self._numbers)
        while page := list(islice(numbers, size)):
            yield page
