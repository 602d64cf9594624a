"""The pieces of one series become one run of rows: in order, without duplicates, and the same whatever the order of the files."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.dataset import ACTIONS
from pipeline.data_remarks import shown
from pipeline.ingest.refusal import refusal
from pipeline.ingest.spill import FIELDS, Piece

Rows = NDArray[Any]


def modal_interval(piece: Piece) -> int:
    """The most common length of the bars of a piece, the shorter of equals."""
    counts: dict[int, int] = {}
    for rows in piece.chunks():
        lengths, numbers = np.unique(rows["ts"] - rows["open_ts"], return_counts=True)
        for length, number in zip(lengths.tolist(), numbers.tolist(), strict=True):
            counts[length] = counts.get(length, 0) + number
    return min(counts, key=lambda length: (-counts[length], length))


def merged(pieces: Sequence[Piece]) -> Iterator[Rows]:
    """Rows of one series in time order, in parts.

    Raises
    ------
    DatasetError
        Time runs backwards within a file, a key is there twice, two files disagree, or bars overlap.
    """
    spans = {piece.file: _span(piece) for piece in pieces}
    ordered = sorted(pieces, key=lambda piece: (spans[piece.file], piece.file))
    apart = all(spans[a.file][1] < spans[b.file][0] for a, b in pairwise(ordered))
    parts = (chunk for piece in ordered for chunk in piece.chunks()) if apart else iter([_interleaved(ordered)])
    last: Rows | None = None
    for rows in parts:
        if "open_ts" in (rows.dtype.names or ()):
            _check_overlap(ordered[0], rows, last)
        last = rows[-1:]
        yield rows


def _span(piece: Piece) -> tuple[int, int]:
    """First and last time of a piece, whose times must not run backwards."""
    first, last = None, None
    for rows in piece.chunks():
        ts = rows["ts"] if last is None else np.concatenate(([last], rows["ts"]))
        row = rows["row"] if last is None else np.concatenate(([0], rows["row"]))
        back = np.flatnonzero(np.diff(ts) < 0)
        if len(back):
            at = int(back[0]) + 1
            rule = f"time of {piece.key.symbol} runs backwards, from {shown(ts[at - 1])}"
            raise refusal(piece.file, rule, "sort the rows of each symbol by time", int(row[at]), "ts", shown(ts[at]))
        _check_twice(piece, ts, row)
        first = int(ts[0]) if first is None else first
        last = int(ts[-1])
    return first or 0, last or 0


def _check_twice(piece: Piece, ts: NDArray[np.int64], row: NDArray[np.int64]) -> None:
    """Equal keys in one file; quotes of one instant keep the order of the rows.  # R1.5"""
    if piece.key.kind in ("spread", "actions"):
        return
    same = np.flatnonzero(np.diff(ts) == 0)
    if len(same):
        at = int(same[0]) + 1
        rule = f"a second {piece.key.kind} row of {piece.key.symbol} at this time"
        raise refusal(piece.file, rule, "drop one of the two rows", int(row[at]), "ts", shown(ts[at]))


def _interleaved(pieces: Sequence[Piece]) -> Rows:
    """All rows of pieces that overlap in time."""
    parts = [piece.read() for piece in pieces]
    rows = np.concatenate(parts)
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = np.argsort(rows["ts"], kind="stable")
    rows, owner = rows[order], owner[order]
    twice = np.flatnonzero(np.diff(rows["ts"]) == 0)
    if len(twice) and pieces[0].key.kind == "spread":
        twice = twice[owner[twice] != owner[twice + 1]]
    if len(twice):
        raise _in_two_files(pieces, rows, owner, twice)
    return rows


def _in_two_files(pieces: Sequence[Piece], rows: Rows, owner: NDArray[np.int64], twice: NDArray[np.int64]) -> Exception:
    """The refusal of rows of one key in two files: of the first on which they disagree, if there is one."""
    kind = pieces[0].key.kind
    differ = {column: ~_same(rows[column][twice], rows[column][twice + 1]) for column in FIELDS[kind]}
    any_differs = np.logical_or.reduce(list(differ.values()))
    nth = int(np.argmax(any_differs))
    one, two = rows[twice[nth]], rows[twice[nth] + 1]
    file, where = pieces[owner[twice[nth] + 1]].file, f"{pieces[owner[twice[nth]]].file} row {one['row']}"
    when = f"{pieces[0].key.symbol} at {shown(one['ts'])}"
    if kind == "spread":
        rule = f"quotes of {when} are in {where} too, and their order is not known"
        return refusal(file, rule, "put the quotes of one symbol and instant into one file", int(two["row"]), "ts")
    if not any_differs[nth]:
        return refusal(
            file, f"{where} holds the same {kind} row of {when}", "remove one of the files", int(two["row"]), "ts", shown(two["ts"])
        )
    column = next(name for name, wrong in differ.items() if wrong[nth])
    rule = f"{where} says {one[column]} for {when}: the files disagree"
    return refusal(file, rule, "remove the wrong one", int(two["row"]), column, two[column])


def _same(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((one == two) | ((one != one) & (two != two)))


def _check_overlap(piece: Piece, rows: Rows, last: Rows | None) -> None:
    opens, closes = rows["open_ts"], rows["ts"]
    before = np.concatenate((closes[:1] * 0 if last is None else last["ts"], closes[:-1]))
    overlap = opens < before
    if overlap.any():
        at = int(np.argmax(overlap))
        rule = f"the bar of {piece.key.symbol} opens before the one before it closes, at {shown(before[at])}"
        mend = "give bars of several lengths a column 'interval', or correct the times"
        raise refusal(piece.file, rule, mend, int(rows["row"][at]), "open_time", shown(opens[at]))


def sorted_actions(pieces: Sequence[Piece]) -> Rows:
    """Actions of a symbol by (time, kind), each at most once.

    Raises
    ------
    DatasetError
        Two rows of one kind at one time.
    """
    for piece in pieces:
        _span(piece)
    rows = np.concatenate([piece.read() for piece in pieces])
    files = np.repeat(np.arange(len(pieces)), [piece.rows for piece in pieces])
    order = np.lexsort((files, rows["kind"], rows["ts"]))
    rows, files = rows[order], files[order]
    twice = np.flatnonzero((np.diff(rows["ts"]) == 0) & (np.diff(rows["kind"]) == 0))
    if len(twice):
        at = int(twice[0]) + 1
        rule = f"a second {ACTIONS[rows['kind'][at]]} of {pieces[0].key.symbol} at {shown(rows['ts'][at])}"
        raise refusal(pieces[files[at]].file, rule, "add up dividends of one day, or drop one row", int(rows["row"][at]), "ts")
    return rows


def joined(bars: Rows | None, quotes: Rows) -> tuple[Rows, int]:
    """Bars with the quote candles of the same (open, close), and bars at the mid where quotes have none.

    Returns
    -------
    rows, alone
        The rows with fields of bars and of quotes, and how many quote candles had no bar.
    """
    n = 0 if bars is None else len(bars)
    place = np.zeros(len(quotes), np.int64) if bars is None else np.searchsorted(bars["ts"], quotes["ts"])
    same = np.zeros(len(quotes), bool)
    if bars is not None:
        at = np.minimum(place, n - 1)
        same = (bars["ts"][at] == quotes["ts"]) & (bars["open_ts"][at] == quotes["open_ts"])
    alone = quotes[~same]
    rows = np.empty(
        n + len(alone), [(name, "<i8" if name in ("open_ts", "ts") else "<f8") for name in (*FIELDS["bars"], *FIELDS["quotes"][2:])]
    )
    for name in FIELDS["bars"]:
        rows[name] = np.concatenate((np.empty(0) if bars is None else bars[name], _mid(alone, name)))
    for name in FIELDS["quotes"][2:]:
        rows[name][:n] = np.nan
        rows[name][place[same]] = quotes[name][same]
        rows[name][n:] = alone[name]
    return rows[np.argsort(rows["ts"], kind="stable")], len(alone)


def _mid(quotes: Rows, name: str) -> NDArray[Any]:
    if name in ("open_ts", "ts"):
        return np.asarray(quotes[name])
    if name == "volume":
        return np.full(len(quotes), np.nan)
    return np.asarray((quotes[f"bid_{name}"] + quotes[f"ask_{name}"]) / 2)
