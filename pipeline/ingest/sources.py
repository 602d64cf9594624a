"""The files of a source: which there are, whether each is what its name says, and their rows in batches of bounded size."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from pipeline.ingest.refusal import refusal

PARQUET, CSV = (".parquet", ".pq"), (".csv",)
BATCH_ROWS = 250_000
BLOCK_BYTES = 8 << 20
MAGIC = b"PAR1"
UNEVEN = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)


class Source(NamedTuple):
    """One readable file of a source."""

    path: Path
    name: str  # relative to the source: what messages call it
    columns: tuple[str, ...]

    @property
    def is_csv(self) -> bool:
        """Whether its values are text."""
        return self.path.suffix.lower() in CSV

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows as ``(number of rows before, arrays by column)``; values of CSV files stay text."""
        before = 0
        try:
            for batch in self._csv(columns) if self.is_csv else self._parquet(columns):
                if batch.num_rows:
                    yield before, dict(zip(batch.schema.names, batch.columns, strict=True))
                before += batch.num_rows
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise damaged(self.name, error) from None
        if before == 0:
            raise refusal(self.name, "it holds no rows", "remove the file or export it again")

    def _parquet(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns))

    def _csv(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with pc.open_csv(
            self.path,
            read_options=pc.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), include_columns=list(columns), strings_can_be_null=False
            ),
        ) as reader:
            yield from reader


def damaged(name: str, error: Exception) -> Exception:
    """The refusal of a file that its reader cannot read."""
    uneven = UNEVEN.search(str(error))
    if uneven:
        rule = f"{uneven[3]} fields under {uneven[2]} columns: the file is cut or a field holds a comma"
        return refusal(name, rule, "export it again", int(uneven[1]) - 1, value=repr(uneven[4][:60]))
    reason = " ".join(str(error).split())[:160]
    return refusal(name, f"it cannot be read ({reason}): the file is cut or damaged", "export or download it again")


def find_sources(root: Path) -> tuple[list[Source], list[str]]:
    """Readable files below a folder (or the one file), and the names of files that are left aside.

    Raises
    ------
    DatasetError
        There is nothing to read, or a file is not what its name says.
    """
    if not root.exists():
        raise refusal(str(root), "no such file or folder", "check the path of the source")
    if root.is_file():
        if root.suffix.lower() not in PARQUET + CSV:
            raise refusal(root.name, f"{root.suffix or 'no suffix'} is not read", "give Parquet (.parquet) or CSV (.csv) files")
        return [_open(root, root.name)], []
    found = [path for path in root.rglob("*") if not _hidden(path.relative_to(root))]
    for path in sorted(found):
        if path.is_symlink() and not path.exists():
            raise refusal(str(path.relative_to(root)), "a link to nothing", "remove it or mend it")
    paths = sorted(path for path in found if path.is_file())
    readable = [path for path in paths if path.suffix.lower() in PARQUET + CSV]
    if not readable:
        raise refusal(str(root), "no .parquet or .csv file in it", "give the folder that holds the data")
    aside = [str(path.relative_to(root)) for path in paths if path not in readable and path != root / "instruments.json"]
    return [_open(path, str(path.relative_to(root))) for path in readable], aside


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _open(path: Path, name: str) -> Source:
    if path.stat().st_size == 0:
        raise refusal(name, "the file is empty", "remove it or export it again")
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(max(-4, -path.stat().st_size), 2)
        tail = file.read(4)
    _check_content(path, name, head, tail)
    try:
        columns = _csv_columns(path) if path.suffix.lower() in CSV else tuple(pq.read_schema(path).names)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged(name, error) from None
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise refusal(name, f"column '{twice[0]}' is there {columns.count(twice[0])} times", "keep one of them")
    return Source(path, name, columns)


def _check_content(path: Path, name: str, head: bytes, tail: bytes) -> None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise refusal(name, "it is a web page, probably an error page of the server", "download it again")
    if path.suffix.lower() in PARQUET:
        if head[:4] != MAGIC:
            raise refusal(name, f"it is not Parquet: it starts with {head[:8]!r}", "give it its right suffix or export it again")
        if tail != MAGIC:
            raise refusal(name, "Parquet without its end: the file is cut", "export or download it again")
    elif head[:4] == MAGIC:
        raise refusal(name, "it is Parquet under a CSV name", "rename it to .parquet")
    elif b"\0" in head:
        raise refusal(name, "it is binary, not CSV text in UTF-8", "export it as UTF-8 CSV")


def _csv_columns(path: Path) -> tuple[str, ...]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return tuple(next(csv.reader(file), ()))
