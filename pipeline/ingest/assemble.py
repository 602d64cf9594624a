"""From pieces to a dataset folder: names are settled, series are joined and written one at a time.

1. Symbols found at several venues become ``SYMBOL.VENUE``; names that differ only in case or Unicode form are refused.
2. Pieces of candles are told apart by the length of their bars.
3. Bars meet their quote candles; every kind is written in the order of the dataset.
4. Instruments are inferred from what was written.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.dataset import COLUMNS, QUOTE_COLUMNS, interval_name
from engine.dataset_writer import FolderWriter
from pipeline.ingest.merge import joined, merged, modal_interval, sorted_actions
from pipeline.ingest.options import IngestOptions
from pipeline.ingest.refusal import refusal
from pipeline.ingest.roles import CANDLES
from pipeline.ingest.specs import Grid, infer, nearest
from pipeline.ingest.spill import Piece
from pipeline.ingest.values import folded
from pipeline.progress import Progress

Rows = NDArray[Any]
Group = dict[tuple[str, int], list[Piece]]  # pieces of one kind by (symbol, interval)
GRID_COLUMNS = ("open", "high", "low", "close")


class Assembly:
    """Writes the pieces of a source as a dataset."""

    def __init__(self, pieces: list[Piece], writer: FolderWriter, options: IngestOptions, progress: Progress) -> None:
        self._writer, self._options, self._progress = writer, options, progress
        self._written = 0
        self.notes: list[str] = []
        self._symbols = self._settle(pieces)
        self._groups = self._group(pieces)
        self._ticks: dict[str, Grid] = {}
        self._lots: dict[str, Grid] = {}
        self._sessions = {self._symbols[id(piece)] for piece in pieces if piece.sessions}

    def write(self) -> dict[str, dict[str, Any]]:
        """Write all kinds; returns the instruments as inferred."""
        self._check_known()
        self._write_bars()
        for kind in COLUMNS:
            for (symbol, interval_us), pieces in sorted(self._groups.get(kind, {}).items() if kind != "bars" else ()):
                self._tell(kind, symbol)
                name = interval_name(interval_us) if interval_us else ""
                for rows in [sorted_actions(pieces)] if kind == "actions" else merged(pieces):
                    self._writer.append(kind, symbol, name, interval_us, {column: rows[column] for column in COLUMNS[kind]})
        return self._instruments()

    def _tell(self, kind: str, symbol: str) -> None:
        self._progress(f"writing {kind} of {symbol}", self._written, sum(map(len, self._groups.values())))
        self._written += 1

    def _settle(self, pieces: list[Piece]) -> dict[int, str]:
        """The final name of each piece's symbol."""
        venues: dict[str, set[str]] = {}
        for piece in pieces:
            venues.setdefault(piece.key.symbol, set()).add(piece.key.venue)
        final = {}
        for piece in pieces:
            symbol, venue = piece.key.symbol, piece.key.venue
            several = venues[symbol] - {""}
            if len(several) > 1 and not venue:
                rule = f"{symbol} is at {', '.join(sorted(several))}, and this file does not say at which"
                raise refusal(piece.file, rule, "add a column 'venue', or pass the venue to take")
            final[id(piece)] = f"{symbol}.{venue}" if len(several) > 1 else symbol
        for symbol, found in sorted(venues.items()):
            if len(found - {""}) > 1:
                self.notes.append(f"{symbol} is at several venues: named {', '.join(f'{symbol}.{venue}' for venue in sorted(found))}")
        self._check_folding(pieces, final)
        return final

    def _check_folding(self, pieces: list[Piece], final: dict[int, str]) -> None:
        seen: dict[str, tuple[str, str]] = {}
        for piece in pieces:
            name = final[id(piece)]
            other, file = seen.setdefault(folded(name), (name, piece.file))
            if other != name:
                rule = f"'{name}' and '{other}' ({file}) differ only in case or Unicode form"
                raise refusal(piece.file, rule, "give one symbol one name", column="symbol", value=ascii(name))

    def _group(self, pieces: list[Piece]) -> dict[str, Group]:
        groups: dict[str, Group] = {}
        renamed: dict[str, None] = {}
        for piece in pieces:
            interval_us = modal_interval(piece) if piece.key.kind in CANDLES else 0
            if interval_us and piece.interval_us and piece.interval_us != interval_us:
                named = interval_name(piece.interval_us)
                renamed[f"{piece.file}: bars called {named} are {interval_name(interval_us)} long, and so named"] = None
            groups.setdefault(piece.key.kind, {}).setdefault((self._symbols[id(piece)], interval_us), []).append(piece)
        self.notes += renamed
        return groups

    def _names(self, *kinds: str) -> set[str]:
        return {symbol for kind in kinds for symbol, _ in self._groups.get(kind, {})}

    def _check_known(self) -> None:
        known = self._names("bars", "quotes")
        for kind in ("funding", "actions"):
            for (symbol, _), pieces in sorted(self._groups.get(kind, {}).items()):
                if symbol not in known:
                    rule = f"{kind} of a symbol without bars{nearest(symbol, known)}"
                    raise refusal(
                        pieces[0].file, rule, "add its bars, or drop its rows", int(next(pieces[0].chunks())["row"][0]), "symbol", symbol
                    )
        for kind in ("marks", "spread", "universe"):
            without = sorted(self._names(kind) - known)
            if without:
                self.notes.append(f"{kind} of symbols without bars: {', '.join(without)}")

    def _write_bars(self) -> None:
        bars, quotes = self._groups.get("bars", {}), self._groups.get("quotes", {})
        columns = (*COLUMNS["bars"], *(QUOTE_COLUMNS if quotes else ()))
        for key in sorted(bars.keys() | quotes.keys()):
            symbol, interval_us = key
            self._tell("bars", symbol)
            for rows in self._bars(symbol, bars.get(key), quotes.get(key)):
                self._grids(symbol, rows)
                given = rows.dtype.names or ()
                part = {column: rows[column] if column in given else np.full(len(rows), np.nan) for column in columns}
                self._writer.append("bars", symbol, interval_name(interval_us), interval_us, part)

    def _bars(self, symbol: str, bars: list[Piece] | None, quotes: list[Piece] | None) -> Iterator[Rows]:
        if quotes is None:
            yield from merged(bars or [])
        elif bars is None:
            self.notes.append(f"{symbol} has quotes only: its bars are their mids, without volume")
            for rows in merged(quotes):
                yield joined(None, rows)[0]
        else:
            rows, alone = joined(np.concatenate(list(merged(bars))), np.concatenate(list(merged(quotes))))
            self._check_join(symbol, rows, quotes)
            if alone:
                self.notes.append(f"{symbol}: {alone:,} quote candles have no bar: bars at their mid, without volume, stand for them")
            yield rows

    def _check_join(self, symbol: str, rows: Rows, quotes: list[Piece]) -> None:
        overlap = rows["open_ts"][1:] < rows["ts"][:-1]
        if overlap.any():
            when = np.datetime64(int(rows["open_ts"][1:][overlap][0]), "us")
            rule = f"a quote candle of {symbol} overlaps a bar without being of the same open and close"
            raise refusal(quotes[0].file, rule, "align the two, or leave the quotes out", value=f"{when}Z")

    def _grids(self, symbol: str, rows: Rows) -> None:
        given = rows.dtype.names or ()
        tick, lot = self._ticks.setdefault(symbol, Grid()), self._lots.setdefault(symbol, Grid())
        traded = ~np.isnan(rows["volume"])
        for name in GRID_COLUMNS:
            tick.add(rows[name][traded] if QUOTE_COLUMNS[0] in given else rows[name])
        for name in QUOTE_COLUMNS if QUOTE_COLUMNS[0] in given else ():
            tick.add(rows[name])
        lot.add(rows["volume"])

    def _instruments(self) -> dict[str, dict[str, Any]]:
        specs = {}
        for symbol in sorted(self._ticks):
            tick, lot = self._ticks[symbol], self._lots[symbol]
            for what, grid in (("prices", tick), ("volumes", lot)):
                if not grid.found:
                    self.notes.append(f"{symbol}: {what} lie on no decimal grid; 0.00000001 is taken")
            kind = self._kind(symbol)
            specs[symbol] = infer(kind, tick, lot, symbol in self._sessions or kind == "equity")
        return specs

    def _kind(self, symbol: str) -> str:
        if self._options.kind:
            return self._options.kind
        if symbol in self._names("funding"):
            return "linear_perp"
        if symbol in self._names("actions") or symbol in self._sessions:
            return "equity"
        return "fx" if symbol not in self._names("bars") else "spot"
