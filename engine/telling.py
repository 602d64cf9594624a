"""What happened in half an instant, as events with their place in the total order.

The order of an instant is that of R1.2, the market's events of a kind before the records that follow from them.  The beginning comes before all,
the account and the end after all, and the equity sample where it is taken: after liquidation at the close, before the halts.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.broadcast import DECISIONS, Key
from engine.events import KIND_NAMES, End, PortfolioState, RecordReader, Told, Valuation
from engine.schema import OUTSIDE, Reason, RecordKind
from engine.state import State
from engine.view import Account

DEPOSIT, LAST, END = (-1,), (OUTSIDE, 2), (OUTSIDE + 1,)

Place = tuple[Key, Told]


class Teller:
    """Turns what the kernel left behind into events."""

    def __init__(self, account: Account, reader: RecordReader) -> None:
        self._account, self._reader = account, reader

    def records(self, state: State, first: int, wants: Callable[[str], bool]) -> list[Place]:
        """The records from ``first`` on, of the kinds that are wanted; the last one of a run is its end."""
        used = int(state.account[0]["seq"])
        if used == first:
            return []
        rows = state.ledger[first:used]
        told: list[Place] = []
        wanted = {kind: wants("END" if kind == RecordKind.RUN_END else KIND_NAMES[kind]) for kind in np.unique(rows["kind"]).tolist()}
        for seq, kind, phase in zip(range(first, used), rows["kind"].tolist(), rows["phase"].tolist(), strict=True):
            if not wanted[kind]:
                continue
            row = rows[seq - first].item()
            if kind == RecordKind.RUN_END:
                record = self._reader.read(seq, row)
                told.append((END, End(record.ts, record.reason, record.amount, record.decimals)))
            else:
                key = DEPOSIT if kind == RecordKind.DEPOSIT and seq == 0 else (phase, 1, seq)
                told.append((key, self._reader.read(seq, row)))
        return told

    def sample(self, state: State, grid: NDArray[np.int64], now: int, first: int) -> list[Place]:
        """The equity sample, if one was taken at the decisions of this instant."""
        at = int(np.searchsorted(grid, now))
        account = state.account[0]
        if account["phase"] == OUTSIDE or at >= len(grid) or grid[at] != now or at >= account["sampled"]:
            return []
        event = Valuation(now, int(state.equity[at]), self._reader.decimals)
        return [((DECISIONS, 1, self._first_after_ruin(state, first) - 0.5), event)]

    def portfolio(self, now: int) -> Place:
        """The account as it stands."""
        read = self._account
        return LAST, PortfolioState(now, read.cash(), read.equity(), read.free(), read.positions(), read.orders(), self._reader.decimals)

    @staticmethod
    def _first_after_ruin(state: State, first: int) -> int:
        """Seq of the first record that is not of a liquidation at the close."""
        used = int(state.account[0]["seq"])
        rows = state.ledger[first:used]
        forced = np.flatnonzero(rows["reason"] == Reason.LIQUIDATED_AT_CLOSE)
        if not len(forced):
            return first
        seq = int(forced[-1]) + 1
        while seq < len(rows) and (rows["kind"][seq] == RecordKind.POSITION or rows["reason"][seq] == Reason.POSITION_CLOSED):
            seq += 1
        return first + seq
