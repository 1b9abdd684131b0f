"""Many records as one value that reads them only when they are looked at."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, overload

from dagstore.ids import NodeId
from dagstore.shown import Rows, flat_rows, table

if TYPE_CHECKING:
    import pandas

    from dagstore.views import NodeView, RunView  # noqa: F401  named in a text below

PAGE = 500
SHOWN = 50

T = TypeVar("T")


class Numbers(Protocol):
    """Records or nodes by number, in the order of the answer."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[int]: ...
    def __getitem__(self, index: Any) -> Any: ...


class Plural(Sequence[T]):
    """A sequence of records. Which are in it was settled when it was asked for; what is known of each is read anew.

    It may have millions of members: `len` and slices are cheap, and iterating reads them by the page.
    """

    def __init__(
        self,
        numbers: Numbers,
        view: Callable[[Iterable[int]], Rows[T]],
        frame: "Callable[[Numbers], pandas.DataFrame]",
    ) -> None:
        self._numbers = numbers
        self._view = view
        self._frame = frame

    def __len__(self) -> int:
        return len(self._numbers)

    def __bool__(self) -> bool:
        return next(iter(self._numbers), 0) > 0

    def __iter__(self) -> Iterator[T]:
        for page in self._pages():
            yield from self._view(page)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> T | Self:
        if isinstance(index, slice):
            return self._of(self._numbers[index])
        return self._view([self._numbers[index]])[0]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Plural, list, tuple)):
            return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)}>"

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row a record and one column a field; ids are 64 hex digits.

        All of it is of one snapshot.
        """
        return self._frame(self._numbers)

    def _repr_html_(self) -> str:
        more = len(self) - SHOWN
        return table(flat_rows(self[:SHOWN])) + (f"<p>and {more} more</p>" if more > 0 else "")

    def _pages(self, size: int = PAGE) -> Iterator[list[int]]:
        numbers = iter(self._numbers)
        while page := list(islice(numbers, size)):
            yield page

    @abstractmethod
    def _of(self, numbers: Numbers) -> Self: ...


class Nodes(Plural["NodeView"]):
    """A sequence of nodes."""

    def __init__(
        self,
        numbers: Numbers,
        view: "Callable[[Iterable[int]], Rows[NodeView]]",
        frame: "Callable[[Numbers], pandas.DataFrame]",
        name: Callable[[list[int]], Iterable[NodeId]],
    ) -> None:
        super().__init__(numbers, view, frame)
        self._name = name

    def ids(self) -> Iterator[NodeId]:
        """The ids alone, in the same order, at a fraction of the cost."""
        for page in self._pages(PAGE * 20):
            yield from self._name(page)

    def _of(self, numbers: Numbers) -> "Nodes":
        return Nodes(numbers, self._view, self._frame, self._name)


class Runs(Plural["RunView"]):
    """A sequence of runs. `to_frame` has what takes few values as categories, and `metrics.NAME` for every metric.

    Whole numbers that may be missing are `Int64`; a metric that a run does not report is NaN.
    """

    def _of(self, numbers: Numbers) -> "Runs":
        return Runs(numbers, self._view, self._frame)
