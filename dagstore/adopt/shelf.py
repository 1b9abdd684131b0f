"""The contents of files and their parsed texts, read and parsed once for all compositions that share a shelf."""

from collections.abc import Callable
from dataclasses import dataclass, field

from dagstore.adopt.syntax import Syntax, Text
from dagstore.ids import BlobId


@dataclass(frozen=True, slots=True)
class Shelf:
    """What was read so far; what `read` raises passes through."""

    read: Callable[[BlobId], bytes]
    contents: dict[BlobId, bytes] = field(default_factory=dict)
    texts: dict[tuple[BlobId, Syntax, Text | None], Text] = field(default_factory=dict)

    def content(self, blob: BlobId) -> bytes:
        if blob not in self.contents:
            self.contents[blob] = self.read(blob)
        return self.contents[blob]

    def text(self, blob: BlobId, syntax: Syntax, like: Text | None = None) -> Text:
        """The text of a blob; sooner parsed if one that is `like` it is at hand."""
        # A version that is like another one will not do as the primary's.
        for key in (blob, syntax, None), (blob, syntax, like):
            if key in self.texts:
                return self.texts[key]
        return self.texts.setdefault(key, Text(self.content(blob), syntax, like))
