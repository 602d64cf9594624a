"""Funding, interest, settlement and rates where data end, start or coincide, and at the bounds of what is paid; worked by hand."""

import math
from typing import Any

import pytest

from engine.dataset import Dataset, from_columns
from engine.instrument import DatedRate
from engine.schema import Action, RecordKind, SizeKind
from engine.session import ReplayError, Session
from engine.settings import Conversion
from tests.differential import agreed_replay
from tests.oracle.examples import (
    FLAT,
    HOUR,
    SHORT,
    Candles,
    Row,
    at,
    fills,
    instrument,
    market,
    of_kind,
    propose,
    settings,
    strategy,
    table,
)
from tests.oracle.replay import OracleResult

CONVERSION, FUNDING, INTEREST, SETTLEMENT = RecordKind.CONVERSION, RecordKind.FUNDING, RecordKind.INTEREST, RecordKind.SETTLEMENT
Hours = tuple[int, Candles]


def series(**symbols: Hours) -> dict[str, Any]:
    """Tables of hourly bars, of each symbol from an hour on."""
    bars = {}
    for symbol, (first, candles) in symbols.items():
        times = [at(first + hour) for hour in range(len(candles) + 1)]
        prices = dict(zip(("open", "high", "low", "close"), zip(*candles, strict=True), strict=True))
        bars[symbol, "1h", HOUR] = {"open_ts": times[:-1], "ts": times[1:], **prices, "volume": [1.0] * len(candles)}
    return {"bars": bars}


def funded(bars: dict[str, Any], **events: Row) -> Dataset:
    return from_columns(bars | {"funding": {(symbol, "", 0): columns for symbol, columns in events.items()}})


def flat(*closes: float) -> Candles:
    return [(close,) * 4 for close in closes]


def paid(result: OracleResult, kind: RecordKind) -> list[tuple[float, int, float, int]]:
    """(hour, symbol, price, money) of each record of a kind."""
    return [((row["ts"] - at(0)) / HOUR, row["symbol"], row["price"], row["amount"]) for row in of_kind(result, kind)]


# funding


@pytest.mark.parametrize(("mark", "price"), [(0.4, 0.4), (-1.0, 0.5), (0.0, 0.5), (math.inf, 0.5), (math.nan, 0.5)])
def test_a_mark_that_is_no_price_gives_way_to_the_last_close(mark: float, price: float) -> None:  # R7.1
    """300 units at 0.50, funded with 1 %: 1.20 at a mark of 0.40, else 1.50."""
    dataset = funded(series(A=(0, flat(0.5, 0.5, 0.5, 0.5))), A={"ts": [at(3)], "rate": [0.01], "mark": [mark]})
    result = agreed_replay(dataset, table(propose(1)), settings(4, strategies=(strategy(SizeKind.FIXED_QTY, 300.0),)))
    assert paid(result, FUNDING) == [(3, 0, price, -round(300 * price))]


def test_the_last_close_is_of_the_symbol_whatever_else_closes_then() -> None:  # R1.2 R7.1
    """A ends at 3 and B's first bar closes at 5, when A is funded without a mark."""
    dataset = funded(series(A=(0, flat(100, 100, 104)), B=(4, flat(50, 50))), A={"ts": [at(5)], "rate": [0.01], "mark": [math.nan]})
    result = agreed_replay(dataset, table(propose(1)), settings(6, symbols="AB"))
    assert paid(result, FUNDING) == [(5, 0, 104.0, -312)]


def test_each_symbol_has_settlements_of_its_own() -> None:  # R7.1
    """A, which is funded at 5 alone, is told to be listed still as B is funded."""
    one, other = ({"ts": [at(hour)], "rate": [0.01], "mark": [100.0]} for hour in (5, 24))
    listed = {"universe": {("A", "", 0): {"ts": [at(0), at(24)], "listed": [1, 1]}}}
    dataset = funded(series(A=(0, [FLAT] * 26), B=(0, [FLAT] * 26)) | listed, A=one, B=other)
    result = agreed_replay(dataset, table(propose(1, SHORT)), settings(26, symbols="AB"))
    assert paid(result, FUNDING) == [(5, 0, 100.0, 300)]


# interest


@pytest.mark.parametrize(("rate", "money"), [(0.365, -30), (1.0, -82), (1.825, -150)])
def test_a_short_pays_any_rate_a_year(rate: float, money: int) -> None:  # R6.4
    """300.00 for a day: 300 x 1.0 / 365 is 0.8219."""
    share = instrument(kind="spot", shortable=True, borrow=(DatedRate(at(-24), rate),))
    result = agreed_replay(market({"A": [FLAT] * 26}), table(propose(1, SHORT)), settings(26, instruments=(share,)))
    assert paid(result, INTEREST) == [(24, 0, 100.0, money)]


def test_each_symbol_pays_by_rates_of_its_own() -> None:  # R6.4
    borrows = {"A": (DatedRate(at(-24), 0.365),), "B": (DatedRate(at(-12), 3.65), DatedRate(at(30), 0.0))}
    shares = tuple(instrument(symbol, kind="spot", shortable=True, borrow=rates) for symbol, rates in borrows.items())
    rows = table(propose(1, SHORT), propose(1, SHORT, symbol="B"))
    result = agreed_replay(market({"A": [FLAT] * 50, "B": [FLAT] * 50}), rows, settings(50, instruments=shares))
    assert paid(result, INTEREST) == [(24, 0, 100.0, -30), (24, 1, 100.0, -300), (48, 0, 100.0, -30)]


@pytest.mark.parametrize(("action", "money"), [(Action.ENTER_LONG, []), (SHORT, [-300])])
def test_a_midnight_that_something_else_is_due_at_costs_a_short_alone(action: Action, money: list[int]) -> None:  # R6.4
    share = instrument(kind="spot", shortable=True, borrow=(DatedRate(at(-24), 3.65),))
    rows = table(propose(1, action), propose(24, Action.EXIT))
    result = agreed_replay(market({"A": [FLAT] * 26}), rows, settings(26, instruments=(share,)))
    assert [row["amount"] for row in of_kind(result, INTEREST)] == money


def test_no_cash_is_no_debt() -> None:  # R6.4
    """Ten units of spot cost all of it; an order at midnight sees to it that the instant is looked at."""
    sized = (strategy(SizeKind.FIXED_QTY, 10.0),)
    chosen = settings(26, instruments=(instrument(kind="spot"),), strategies=sized, interest=(DatedRate(at(-24), 0.365),))
    result = agreed_replay(market({"A": [FLAT] * 26}), table(propose(1), propose(24, Action.EXIT)), chosen)
    assert of_kind(result, RecordKind.FILL)[0]["cash"] == 0
    assert paid(result, INTEREST) == []


@pytest.mark.parametrize(
    ("since", "rate", "money"), [(-24, 0.0, []), (-24, 0.365, [-100]), (-24, 1.0, [-274]), (24, 0.365, [-100]), (24.001, 0.365, [])]
)
def test_debt_pays_any_rate_a_year_from_its_date_on(since: float, rate: float, money: list[int]) -> None:  # R6.4
    """Cash is at -1,000.00 after the loss of one of two hedged positions, which the other's profit backs."""
    bars = [*[FLAT] * 10, (100.0, 100.0, 75.0, 75.0), *flat(*[75.0] * 20)]
    hedged = (strategy(SizeKind.FIXED_QTY, 80.0, name="long"), strategy(SizeKind.FIXED_QTY, 80.0, name="short"))
    rows = [propose(2, strategy="long"), propose(2, SHORT, strategy="short"), propose(12, Action.EXIT, strategy="long")]
    rows.append(propose(24, Action.EXIT, strategy="short"))
    chosen = settings(len(bars), strategies=hedged, leverage=20.0, interest=(DatedRate(at(since), rate),))
    result = agreed_replay(market({"A": bars}), table(*rows), chosen)
    assert [row["amount"] for row in of_kind(result, INTEREST)] == money


# settlement


def test_contracts_that_settle_at_one_instant_do_so_in_order_down_to_one_lot() -> None:  # R1.1 R6.2
    """C settles at another time of day, D expires, E has an order that ends with it."""
    times = {"A": {}, "B": {}, "C": {"settlement": 16 * HOUR}, "D": {"expiry": at(24)}, "E": {"expiry": at(24)}}
    contracts = tuple(instrument(symbol, kind="future", **more) for symbol, more in times.items())
    closes = flat(*[100.0] * 10, *[101.0] * 20)
    rows = [propose(5, symbol=symbol) for symbol in "DCBA"]
    rows.append(propose(5, symbol="E", order_type=1, limit_price=50.0))
    chosen = settings(30, instruments=contracts, strategies=(strategy(SizeKind.FIXED_QTY, 1.0),))
    result = agreed_replay(market(dict.fromkeys("ABCDE", closes)), table(*rows), chosen)
    assert paid(result, SETTLEMENT) == [(16, 2, 101.0, 100), (24, 0, 101.0, 100), (24, 1, 101.0, 100)]
    assert fills(result)[4] == (24, 101.0, "EXPIRED")
    ended = [(row["ts"], row["symbol"]) for row in of_kind(result, RecordKind.CANCELLED)]
    assert ended == [(at(24), 4)]


# rates


def yen(symbol: str, quote: str = "JPY") -> Any:
    return instrument(symbol, kind="equity", quote=quote)


@pytest.mark.parametrize(("hour", "spent"), [(3, 600), (4, 900)])
def test_a_close_is_the_rate_from_its_own_instant_on(hour: int, spent: int) -> None:  # R1.2 R6.4
    """Three units of 100 yen: a yen is worth 0.02 from the close at 3 on, 0.03 from that at 4."""
    dataset = from_columns(series(A=(0, [FLAT] * 6), R=(0, flat(0.01, 0.01, 0.02, 0.03, 0.03, 0.03))))
    result = agreed_replay(dataset, table(propose(hour)), settings(6, instruments=(yen("A"),), conversions=(Conversion("JPY", "R"),)))
    assert of_kind(result, RecordKind.FILL)[0]["amount"] == -spent


def test_rates_that_end_stay_what_they_were() -> None:  # R8.5
    """Closes of R, for the yen of A, end at 2; those of S, for the pounds of B, begin at 1 and end at 3."""
    dataset = from_columns(series(A=(0, [FLAT] * 6), B=(0, [FLAT] * 6), R=(0, flat(0.01, 0.02)), S=(0, flat(2.0, 3.0, 4.0))))
    pairs = (Conversion("JPY", "R"), Conversion("GBP", "S"))
    chosen = settings(6, instruments=(yen("A"), yen("B", "GBP")), conversions=pairs, strategies=(strategy(SizeKind.FIXED_QTY, 1.0),))
    result = agreed_replay(dataset, table(propose(4), propose(4, symbol="B"), propose(5, Action.EXIT)), chosen)
    assert [(row["ts"], row["symbol"], row["value"]) for row in of_kind(result, CONVERSION)] == [(at(4), 0, 0.02), (at(4), 1, 4.0)]


def test_the_first_entry_without_a_rate_is_named() -> None:
    """B ranks before A."""
    dataset = from_columns(series(A=(0, [FLAT] * 6), B=(0, [FLAT] * 6), R=(4, flat(0.01, 0.02))))
    chosen = settings(6, instruments=(yen("A"), yen("B")), conversions=(Conversion("JPY", "R"),))
    with pytest.raises(ReplayError, match="B is to be entered"):
        Session(dataset, table(propose(1), propose(1, symbol="B", score=2.0)), chosen).run()


@pytest.mark.parametrize(("kind", "lots"), [("fx", 4), ("equity", 7)])
def test_exposure_of_contracts_is_at_the_rate_of_now_and_of_holdings_at_that_of_their_value(kind: str, lots: int) -> None:  # R5.2
    """300 units of 100 yen, 300.00 at the last close of A at 2; the yen doubles at 3, when B may be bought up to the equity of 1,000.00."""
    slow = {"open_ts": [at(0), at(2), at(4)], "ts": [at(2), at(4), at(6)], **dict.fromkeys(("open", "high", "low", "close"), [100.0] * 3)}
    tables = series(B=(0, [FLAT] * 6), R=(0, flat(0.01, 0.01, 0.02, 0.02, 0.02, 0.02)))
    tables["bars"]["A", "2h", 2 * HOUR] = slow | {"volume": [1.0] * 3}
    contracts = (instrument("A", kind=kind, quote="JPY"), instrument("B"))
    sized = (strategy(SizeKind.FIXED_QTY, 300.0), strategy(SizeKind.FIXED_QTY, 10.0, name="t"))
    changes: Row = {"instruments": contracts, "strategies": sized, "conversions": (Conversion("JPY", "R"),), "leverage": 10.0}
    rows = table(propose(2), propose(3, symbol="B", strategy="t"))
    result = agreed_replay(from_columns(tables), rows, settings(6, max_gross=1.0, **changes))
    assert [row["qty"] for row in of_kind(result, RecordKind.APPROVED)] == [300, lots]
