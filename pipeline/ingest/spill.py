"""Rows between reading and writing: on disk, one piece for each file, kind, symbol, venue and interval label.

A source may hold its symbols in any order and more rows than fit in memory; a piece can be read back in parts of bounded size.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.dataset import COLUMNS, QUOTE_COLUMNS, column_dtype

FIELDS = {**COLUMNS, "quotes": ("open_ts", "ts", *QUOTE_COLUMNS)}
CHUNK_ROWS = 500_000


class Key(NamedTuple):
    """Whose rows a piece holds."""

    kind: str  # of FIELDS
    symbol: str
    venue: str  # empty: the file has no such column
    label: str  # what the interval column says; empty without one


@dataclass
class Piece:
    """Rows of one key in one file, in the order of the file."""

    file: str
    key: Key
    path: Path
    interval_us: int = 0  # given by the file or the caller; 0: to be told from the rows
    sessions: bool = False
    rows: int = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """A row: its number in the file, from 1, and its fields."""
        kind = "bars" if self.key.kind == "quotes" else self.key.kind
        return np.dtype([("row", "<i8"), *((name, column_dtype(kind, name)) for name in FIELDS[self.key.kind])])

    def chunks(self) -> Iterator[NDArray[Any]]:
        """The rows, in parts of at most ``CHUNK_ROWS``."""
        with self.path.open("rb") as file:
            for _ in range(0, self.rows, CHUNK_ROWS):
                yield np.fromfile(file, self.dtype, CHUNK_ROWS)

    def read(self) -> NDArray[Any]:
        """All rows."""
        return np.fromfile(self.path, self.dtype)


class Spill:
    """The pieces of a source, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.venues: set[str] = set()
        self.pieces: dict[tuple[str, Key], Piece] = {}

    def add(self, file: str, key: Key, columns: dict[str, NDArray[Any]], interval_us: int, sessions: bool) -> None:
        """Append rows to a piece; ``columns`` holds ``row`` and the fields of the kind."""
        piece = self.pieces.get((file, key))
        if piece is None:
            piece = Piece(file, key, self._folder / f"{len(self.pieces)}.rows", interval_us, sessions)
            self.pieces[file, key] = piece
        rows = np.empty(len(columns["row"]), piece.dtype)
        for name in piece.dtype.names or ():
            rows[name] = columns[name]
        with piece.path.open("ab") as target:
            rows.tofile(target)
        piece.rows += len(rows)

    def remove(self) -> None:
        """Delete the pieces: all that they held is written."""
        shutil.rmtree(self._folder)
