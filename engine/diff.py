"""Two ledgers side by side: the first record on which they part, and what each cause made of the difference.

Trades are the same where strategy, symbol, side and the time of the decision are.  docs/analysis.md defines the causes and their order; all
sums are of integer money, so they add up to the difference of the final equities exactly.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.ledger import Ledger, LedgerError
from engine.round_trips import Fold, RoundTrip, fold
from engine.schema import NONE, RECORD

MONEY = ("fee", "amount", "cash")
LOTS = ("qty", "position")
CAUSES = ("deposits", "selection", "sizing", "exits", "fills", "fees", "funding", "flows", "open")
"""Causes, in the order in which the difference is handed out."""


class Parting(NamedTuple):
    """The first place at which two ledgers differ.

    ``left`` and ``right`` are the seq of the record there, -1 where that ledger has ended; ``columns`` differ.
    """

    left: int
    right: int
    columns: tuple[str, ...]


@dataclass
class Attribution:
    """The difference of two final equities (right less left), by cause.

    Attributes
    ----------
    decimals
        Money is in units of ``10**-decimals``: the finer of the two ledgers'.
    causes
        Money by cause, ``CAUSES``; their sum is the difference.
    flows
        The ``flows`` cause by kind of record.
    same, left_only, right_only
        Trades in both, and in one alone.
    """

    decimals: int
    left_equity: int
    right_equity: int
    causes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    flows: dict[str, int] = field(default_factory=dict)
    same: int = 0
    left_only: list[RoundTrip] = field(default_factory=list)
    right_only: list[RoundTrip] = field(default_factory=list)

    @property
    def difference(self) -> int:
        """Final equity of the right run less that of the left."""
        return self.right_equity - self.left_equity


def first_parting(left: Ledger, right: Ledger) -> Parting | None:
    """The first record on which two ledgers part, or None.

    Money is compared as amounts and lots as quantities, so another number of decimals or another lot alone does not part them; the row of
    a proposal in its table is not compared.
    """
    decimals = _decimals(left, right)
    names = sorted({*left.symbols, *right.symbols}), sorted({*left.strategies, *right.strategies})
    a, b = _columns(left, decimals, *names), _columns(right, decimals, *names)
    n = min(len(left.records), len(right.records))
    unequal = {name: ~_equal(a[name][:n], b[name][:n]) for name in a}
    anywhere = np.logical_or.reduce(list(unequal.values())) if n else np.zeros(0, np.bool_)
    if anywhere.any():
        at = int(np.argmax(anywhere))
        return Parting(at, at, tuple(name for name in unequal if unequal[name][at]))
    if len(left.records) == len(right.records):
        return None
    return Parting(n if len(left.records) > n else NONE, n if len(right.records) > n else NONE, ())


def _columns(ledger: Ledger, decimals: int, symbols: list[str], strategies: list[str]) -> dict[str, NDArray[Any]]:
    found = {name: ledger.records[name] for name in RECORD.names or () if name != "proposal"}
    for name, mine, all_names in (("symbol", ledger.symbols, symbols), ("strategy", ledger.strategies, strategies)):
        found[name] = np.array([*map(all_names.index, mine), NONE], np.int64)[found[name]]
    lots = [ledger.header["instruments"][symbol]["lot"] for symbol in ledger.symbols] + [[1, 1]]
    units, power = np.array(lots, np.float64).T
    at = ledger.records["symbol"]
    for name in LOTS:
        found[name] = found[name] * units[at] / power[at]
    factor = 10 ** (decimals - int(ledger.header["decimals"]))
    for name in MONEY if factor > 1 else ():
        found[name] = found[name].astype(object) * factor  # beyond int64
    return found


def _equal(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    if a.dtype.kind == b.dtype.kind == "f":
        return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))
    return np.asarray(a == b, np.bool_)


def _decimals(left: Ledger, right: Ledger) -> int:
    return max(int(left.header["decimals"]), int(right.header["decimals"]))


def attribute(left: Ledger, right: Ledger) -> Attribution:
    """Hand out the difference of the final equities to its causes.

    Raises
    ------
    LedgerError
        If the causes do not add up to it: a ledger contradicts itself.
    """
    decimals = _decimals(left, right)
    ours, theirs = (_scaled(ledger, decimals) for ledger in (left, right))
    found = Attribution(decimals, ours.final_equity, theirs.final_equity)
    found.causes["deposits"] = theirs.deposits - ours.deposits
    found.causes["open"] = theirs.unrealised - ours.unrealised
    _add_flows(found, ours.flows, theirs.flows)
    twins = defaultdict[Any, list[RoundTrip]](list)
    for trip in theirs.trips:
        twins[trip.key()].append(trip)
    for trip in ours.trips:
        waiting = twins[trip.key()]
        if waiting:
            _compare(found, trip, waiting.pop(0), _lot(left, trip), _lot(right, trip))
        else:
            found.left_only.append(trip)
    found.right_only = [trip for waiting in twins.values() for trip in waiting]
    found.causes["selection"] += sum(trip.pnl for trip in found.right_only) - sum(trip.pnl for trip in found.left_only)
    found.causes["flows"] = sum(found.flows.values())
    if sum(found.causes.values()) != found.difference:
        raise LedgerError(f"causes come to {sum(found.causes.values())}, the final equities differ by {found.difference}: verify both runs")
    return found


def _scaled(ledger: Ledger, decimals: int) -> Fold:
    """A fold with its money in units of ``10**-decimals``."""
    folded, factor = fold(ledger), 10 ** (decimals - int(ledger.header["decimals"]))
    if factor == 1:
        return folded
    folded.deposits, folded.final_equity = folded.deposits * factor, folded.final_equity * factor
    folded.flows = {kind: moved * factor for kind, moved in folded.flows.items()}
    for trip in folded.trips:
        trip.realised, trip.fees, trip.funding = trip.realised * factor, trip.fees * factor, trip.funding * factor
        trip.flows = {kind: moved * factor for kind, moved in trip.flows.items()}
    return folded


def _lot(ledger: Ledger, trip: RoundTrip) -> Fraction:
    """Quantity of one lot."""
    return Fraction(*ledger.header["instruments"][trip.symbol]["lot"])


def _compare(found: Attribution, ours: RoundTrip, theirs: RoundTrip, our_lot: Fraction, their_lot: Fraction) -> None:
    """One trade of both runs: its size first, then what the right run did otherwise at that size."""
    found.same += 1
    ratio = theirs.lots * their_lot / (ours.lots * our_lot)
    realised, fees, funding = (round(amount * ratio) for amount in (ours.realised, ours.fees, ours.funding))
    flows = {kind: round(moved * ratio) for kind, moved in ours.flows.items()}
    if ratio != 1:  # what is within the rounding of the amounts that were scaled is of the size, not of its own cause
        unit = len(theirs.records)
        pairs = [(realised, theirs.realised), (fees, theirs.fees), (funding, theirs.funding)]
        realised, fees, funding = (there if abs(there - here) <= unit else here for here, there in pairs)
        near = {kind: (moved, theirs.flows.get(kind, 0)) for kind, moved in flows.items()}
        flows = {kind: there if abs(there - here) <= unit else here for kind, (here, there) in near.items()}
    found.causes["sizing"] += realised - fees + funding + sum(flows.values()) - ours.pnl
    same_exit = (ours.open, ours.exit_ts, ours.exit_reason) == (theirs.open, theirs.exit_ts, theirs.exit_reason)
    found.causes["fills" if same_exit else "exits"] += theirs.realised - realised
    found.causes["fees"] -= theirs.fees - fees
    found.causes["funding"] += theirs.funding - funding
    _add_flows(found, flows, theirs.flows)


def _add_flows(found: Attribution, ours: dict[str, int], theirs: dict[str, int]) -> None:
    for kind in ours.keys() | theirs.keys():
        found.flows[kind] = found.flows.get(kind, 0) + theirs.get(kind, 0) - ours.get(kind, 0)
