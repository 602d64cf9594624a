"""Quiet bars of the only position, which the replay runs over in a loop of its own: what must stop it, worked by hand.  # R10.1"""

import gc
import weakref
from typing import Any

import pytest

from engine.dataset import from_columns
from engine.instrument import DatedRate
from engine.money import MONEY_LIMIT
from engine.proposal import Proposal
from engine.schema import NEVER, Action, LimitGap, LimitTouch, MarginMode, OrderType, RecordKind, SizeKind
from engine.session import ReplayError, Session
from engine.settings import HaltLimits
from tests.differential import agreed_replay, kernel_run, oracle_run, outcome_of
from tests.engine.test_margin import quoted
from tests.markets import Case
from tests.oracle.examples import (
    FLAT,
    HOUR,
    LONG,
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
    two_clocks,
)
from tests.oracle.replay import OracleResult

BARS = 150
PLACES = [2, 3, 6, 40, 64, 65, 66, 67, 129, 130, 148]  # around the first bars, and where one look at many ends
LEVELS: Row = {"stop_loss": 95.0, "take_profit": 105.0}


def quiet(*odd: tuple[int, tuple[float, float, float, float]], bars: int = BARS) -> Candles:
    """Bars between 99 and 101 that close at 100, but for some."""
    return [dict(odd).get(hour, (100.0, 101.0, 99.0, 100.0)) for hour in range(bars)]


def held(candles: Candles, *rows: Row, qty: float = 3.0, data: dict[str, Any] | None = None, **changes: Any) -> OracleResult:
    """The replay of a position of symbol A."""
    chosen = settings(len(candles), strategies=(strategy(SizeKind.FIXED_QTY, qty),), **changes)
    return agreed_replay(market({"A": candles}, **(data or {})), table(*(rows or (propose(1),))), chosen)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("action", "candle", "price", "reason"),
    [
        (LONG, (100.0, 101.0, 95.0, 100.0), 95.0, "STOP_LOSS"),
        (LONG, (100.0, 105.0, 99.0, 100.0), 105.0, "TAKE_PROFIT"),
        (LONG, (94.5, 101.0, 94.0, 100.0), 94.5, "STOP_LOSS"),
        (SHORT, (100.0, 105.0, 99.0, 100.0), 105.0, "STOP_LOSS"),
        (SHORT, (100.0, 101.0, 95.0, 100.0), 95.0, "TAKE_PROFIT"),
        (SHORT, (105.5, 106.0, 99.0, 100.0), 105.5, "STOP_LOSS"),
    ],
)
def test_a_level_met_exactly_ends_the_quiet(
    place: int, action: Action, candle: tuple[float, ...], price: float, reason: str
) -> None:  # R3.2
    stop, target = (95.0, 105.0) if action == LONG else (105.0, 95.0)
    result = held(quiet((place, candle)), propose(1, action, stop_loss=stop, take_profit=target))  # type: ignore[arg-type]
    assert [(exit_price, why) for _, exit_price, why in fills(result)][1:] == [(price, reason)]
    assert result.equity[place:] == [100_000 + round(300 * (price - 100.0)) * (1 if action == LONG else -1)] * (BARS - place)


@pytest.mark.parametrize("place", PLACES)
def test_a_level_that_is_nearly_met_does_not(place: int) -> None:  # R3.2
    result = held(quiet((place, (100.0, 104.9, 95.1, 102.0))), propose(1, **LEVELS))
    assert [reason for *_, reason in fills(result)] == ["FILLED", "RUN_ENDED"]
    assert [k for k in range(BARS) if result.equity[k] != 100_000] == [place]
    assert result.equity[place] == 100_000 + 600


def test_a_target_is_met_by_the_side_that_closes() -> None:  # R3.2
    # the ask stays above the target all the while; the bid meets it in bar 43
    bid = [(100.0, 100.0, 100.0, 100.0)] * 3 + [(104.5, 104.9, 104.0, 104.5)] * 77
    bid[43] = (104.5, 105.3, 104.0, 104.5)
    ask = [(100.0, 100.0, 100.0, 100.0)] * 3 + [(105.5, 106.0, 105.2, 105.5)] * 77
    mid = [tuple((low + high) / 2 for low, high in zip(one, other, strict=True)) for one, other in zip(bid, ask, strict=True)]
    result = agreed_replay(quoted(bid, ask, mid), table(propose(1, take_profit=105.0)), settings(80))  # type: ignore[arg-type]
    assert fills(result)[1] == (44.0, 105.0, "TAKE_PROFIT")


@pytest.mark.parametrize("place", PLACES)
def test_ruin_ends_the_quiet(place: int) -> None:  # R7.4
    # 999 units at 100 on 999.00 of cash: at 99 all of it is lost
    result = held(quiet((place, (100.0, 101.0, 99.0, 99.0))), qty=999.0, cash=99_900, leverage=200.0)
    assert fills(result)[1:] == [(place + 1, 99.0, "LIQUIDATED_AT_CLOSE")]
    assert (result.equity[place - 1], result.final_equity) == (99_900, 0)


@pytest.mark.parametrize("place", PLACES)
def test_a_halt_looks_at_every_sample(place: int) -> None:  # R5.3
    # three units fall by 1: 3.00 of 1,000.00
    result = held(quiet((place, (100.0, 101.0, 99.0, 99.0))), propose(1, **LEVELS), halts=HaltLimits(drawdown=0.003))
    assert [record["ts"] for record in of_kind(result, RecordKind.RISK_ALERT)] == [at(place + 1)]


def up_and_back(best: float, bars: int) -> Candles:
    """A position at 100 that is once worth more, in the last of its bars but one."""
    return [*[FLAT] * (bars - 3), (100, best, 100, best), (best, best, 100, 100), FLAT]


@pytest.mark.parametrize("levels", [{}, {"stop_loss": 50.0}])
@pytest.mark.parametrize("bars", [5, 12])
def test_equity_at_the_limit_of_money_stops_the_run(bars: int, levels: Row) -> None:  # R6.3
    # ten gain 1,000.00, which are 100,000 cents, and lose them again
    candles, row = up_and_back(200.0, bars), propose(1, **levels)
    assert held(candles, row, qty=10.0, cash=MONEY_LIMIT - 100_001).equity[bars - 3] == MONEY_LIMIT - 1
    with pytest.raises(ReplayError, match="overflows"):
        held(candles, row, qty=10.0, cash=MONEY_LIMIT - 100_000)


@pytest.mark.parametrize("levels", [{}, {"stop_loss": 50.0}])
@pytest.mark.parametrize("bars", [5, 12])
def test_a_position_at_the_limit_of_money_stops_the_run(bars: int, levels: Row) -> None:  # R6.3
    # worth nine tenths of the limit when it is bought, a fifth more at its best; equity is a fifth of the limit then
    large: Row = {"qty": float(round(0.009 * MONEY_LIMIT / 100)), "cash": 10**15, "leverage": 100.0}
    assert fills(held(up_and_back(110.0, bars), propose(1, **levels), **large))[-1] == (bars, 100.0, "RUN_ENDED")
    with pytest.raises(ReplayError, match="overflows"):
        held(up_and_back(120.0, bars), propose(1, **levels), **large)


@pytest.mark.parametrize("opened", [95.0, 105.0])
@pytest.mark.parametrize("action", [LONG, SHORT])
def test_an_open_at_a_level_ends_a_long_quiet(action: Action, opened: float) -> None:  # R2.4
    # the open of the ninth bar is all of it that reaches the level
    candles: Candles = [FLAT] * 8 + [(opened, 101.0, 99.0, 100.0)] + [FLAT] * 6
    stop, target = (95.0, 105.0) if action == LONG else (105.0, 95.0)
    reason = "STOP_LOSS" if opened == stop else "TAKE_PROFIT"
    assert fills(held(candles, propose(1, action, stop_loss=stop, take_profit=target)))[1] == (8, opened, reason)


@pytest.mark.parametrize("age", [1, 4, 5, 6, 7, 12])
def test_a_position_grows_too_old_on_its_way(age: int) -> None:  # R2.1
    assert fills(held([FLAT] * 15, propose(1, max_bars=age)))[1] == (1 + age, 100.0, "MAX_BARS")


def hours(*closes: float, prices: list[float]) -> Row:
    """Bars that are their closes, the first from midnight on."""
    times = [at(hour) for hour in (0.0, *closes)]
    columns = dict.fromkeys(("open", "high", "low", "close"), prices)
    return {"open_ts": times[:-1], "ts": times[1:], **columns, "volume": [1.0] * len(prices)}


@pytest.mark.parametrize(
    ("decided", "others"),
    [
        *((1, (5.0, *(5.5 + i for i in range(between)), 20.0)) for between in (1, 2, 3, 9)),
        (10, (10.0, 12.0, 12.5, 19.0)),  # as many samples before as bars after
    ],
)
def test_samples_of_others_between_the_bars_of_a_position_are_taken(decided: int, others: tuple[float, ...]) -> None:  # R5.3
    # A gains one an hour, and closes at full hours; B closes besides at some half hours, at which nothing has changed
    of_a = hours(*range(1, 21), prices=[100.0 + hour for hour in range(20)])
    of_b = hours(*others, prices=[100.0] * len(others))
    data = from_columns({"bars": {("A", "1h", HOUR): of_a, ("B", "30m", HOUR // 2): of_b}})
    result = agreed_replay(data, table(propose(decided)), settings(20, symbols="AB"))
    sampled = [(ts - at(0)) / HOUR for ts in result.sample_ts]
    assert sampled == sorted({*range(1, 21), *others})
    assert result.equity == [100_000 + 300 * max(0, int(hour) - 1 - decided) for hour in sampled]


@pytest.mark.parametrize("decided", [1, 2])
def test_an_entry_that_waits_is_met_while_a_position_is_held(decided: int) -> None:  # R10.1
    # the limit of B, decided beside the entry of A or after it, is met in the bar from 5 to 6
    data = market({"A": [FLAT] * 8, "B": [FLAT] * 5 + [(100, 100, 94, 96), *[FLAT] * 2]})
    waits = propose(decided, symbol="B", order_type=int(OrderType.LIMIT), limit_price=95.0)
    result = agreed_replay(data, table(propose(1), waits), settings(8, symbols="AB"))
    assert fills(result)[:2] == [(1, 100.0, "FILLED"), (6, 95.0, "FILLED")]


def closing_at(*prices: float) -> Candles:
    """Two bars at 100, the second of them that of the entry, and then bars that go straight to their close."""
    closes = (100.0, 100.0, *prices)
    return [(a, max(a, b), min(a, b), b) for a, b in zip((100.0, *closes), closes, strict=False)]


def alerts(result: OracleResult) -> list[tuple[int, float]]:
    """(hour, fraction lost) of each alert."""
    return [((one["ts"] - at(0)) // HOUR, one["value"]) for one in of_kind(result, RecordKind.RISK_ALERT)]


# ten lots and 1,000.00: equity is ten times the close


@pytest.mark.parametrize(("close", "said"), [(150.0, [(6, 100 / 1600)]), (150.1, [])])
def test_a_drawdown_is_from_the_best_of_the_quiet_bars(close: float, said: list[tuple[int, float]]) -> None:  # R5.3
    result = held(closing_at(130, 160, 155, close, 150.1), qty=10.0, halts=HaltLimits(drawdown=0.0625))
    assert alerts(result) == said


def test_a_drawdown_counts_anew_from_the_end_of_its_halt() -> None:  # R5.3
    # halted at 6 for two hours: the 170 of 7 is no peak, the 144 of 8 is the first; of the 150 of 9 a sixteenth is gone at 10
    prices = (130, 160, 155, 150, 170, 144, 150, 140.6, 140.6)
    result = held(closing_at(*prices), qty=10.0, halts=HaltLimits(drawdown=0.0625, resume_after_us=2 * HOUR))
    assert alerts(result) == [(6, 100 / 1600), (10, 94 / 1500)]
    assert alerts(held(closing_at(*prices), qty=10.0, halts=HaltLimits(drawdown=0.0625, resume_after_us=NEVER))) == [(6, 100 / 1600)]


def test_the_peak_after_a_halt_is_the_best_since_its_end() -> None:  # R5.3
    # halted at 6 until 8: 1,580 then, and 105 less at 10
    result = held(
        closing_at(130, 160, 155, 150, 170, 158, 156, 147.5), qty=10.0, halts=HaltLimits(drawdown=0.0625, resume_after_us=2 * HOUR)
    )
    assert alerts(result) == [(6, 100 / 1600), (10, 105 / 1580)]


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ((95.0, 93.75), [(24, 62.5 / 1000)]),  # the close of midnight belongs to the day that ends
        ((95.0, 93.76), []),
        ((95.0, 94.0, 93.75), []),  # from 940 on
        ((95.0, 94.0, 93.75, 88.0), [(26, 60 / 940)]),
        ((90.0, 85.0, 84.0), [(23, 100 / 1000)]),  # once a day
        ((90.0, 96.0, 90.0), [(23, 100 / 1000), (25, 60 / 960)]),
    ],
)
def test_a_daily_loss_is_from_the_last_sample_of_the_day_before(prices: tuple[float, ...], said: list[tuple[int, float]]) -> None:
    # R5.3: 20 closes at 100, then those of 23:00, 00:00 and so on
    candles = closing_at(*[100.0] * 20, *prices)
    assert alerts(held(candles, qty=10.0, halts=HaltLimits(daily_loss=0.0625))) == said
    assert alerts(held(candles, qty=10.0, halts=HaltLimits(daily_loss=0.0625, drawdown=0.9))) == said


def test_a_sample_between_two_bars_has_what_the_fill_left() -> None:  # R5.3
    # a fee of 0.30; the close of 102 is known at 2, and counts at half past two as well
    data = two_clocks([FLAT, (100, 102, 100, 102), (102, 104, 102, 104)])
    result = agreed_replay(data, table(propose(1)), settings(3, symbols="AB", taker_bps=10.0))
    assert result.equity == [100_000, 100_000, 99_970, 100_570, 100_570, 101_170]


@pytest.mark.parametrize("halves", [True, False])
def test_equity_at_the_limit_of_money_is_told_between_two_bars(halves: bool) -> None:  # R6.3
    # ten bought at 90 gain 100.00, 10,000 cents, against the close before, and lose them at the next; B closes, or decides, between
    candles = [FLAT, *[(90.0,) * 4] * 3]
    data = two_clocks(candles) if halves else market({"A": candles, "B": candles})
    rows = table(propose(1), propose(1.5, Action.EXIT, symbol="B"))

    def case(gain: int) -> Case:
        return Case(data, rows, settings(4, symbols="AB", strategies=(strategy(SizeKind.FIXED_QTY, 10.0),), cash=MONEY_LIMIT - gain))

    assert agreed_replay(*case(10_001)).equity == [
        MONEY_LIMIT - (1 if halves and place == 2 else 10_001) for place in range(8 if halves else 4)
    ]
    assert outcome_of(kernel_run, case(10_000)) == outcome_of(oracle_run, case(10_000)) == {"error": "overflow"}


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("touch", list(LimitTouch))
@pytest.mark.parametrize(("level", "opened"), [({"stop_loss": 95.0}, 94.0), ({"take_profit": 105.0}, 106.0)])
@pytest.mark.parametrize("hole", [False, True])
def test_an_open_beyond_a_level_is_the_price_whatever_else_the_bar_says(
    short: bool, touch: LimitTouch, level: Row, opened: float, hole: bool
) -> None:
    # R1.3: a bar whose open lies outside of its range, after a bar that nobody has seen or right after the last one
    bars = [(0, FLAT), (1, FLAT), (2, FLAT), (4 if hole else 3, (opened, 101.0, 99.0, 100.0)), (5, FLAT)]
    if short:
        bars = [(hour, (200 - bar[0], 200 - bar[2], 200 - bar[1], 200 - bar[3])) for hour, bar in bars]
        level = {name: 200 - price for name, price in level.items()}
    columns = dict(zip(("open", "high", "low", "close"), zip(*(bar for _, bar in bars), strict=True), strict=True))
    times = {"open_ts": [at(hour) for hour, _ in bars], "ts": [at(hour + 1) for hour, _ in bars]}
    of_b = {name: [100.0] * 6 for name in ("open", "high", "low", "close", "volume")}
    of_b |= {"open_ts": [at(hour) for hour in range(6)], "ts": [at(hour + 1) for hour in range(6)]}
    data = from_columns({"bars": {("A", "1h", HOUR): {**times, **columns, "volume": [1.0] * 5}, ("B", "1h", HOUR): of_b}})
    rows = [propose(1, SHORT if short else LONG, **level), propose(3.5, Action.EXIT, symbol="B")]
    left = fills(agreed_replay(data, table(*rows), settings(6, symbols="AB", limit_touch=touch, limit_gap=LimitGap.OPEN)))[1]
    reason = "STOP_LOSS" if "stop_loss" in level else "TAKE_PROFIT"
    assert left == (4 if hole else 3, 200 - opened if short else opened, reason)


def test_an_open_beyond_a_stop_is_that_of_the_side_that_closes() -> None:  # R2.2
    # the bid opens at 94, outside of its range, the ask at 96
    quotes = {f"{side}_{name}": [100.0] * 5 for side in ("bid", "ask") for name in ("open", "high", "low", "close")}
    quotes["bid_open"][3], quotes["ask_open"][3] = 94.0, 96.0
    plain = {name: [100.0] * 5 for name in ("open", "high", "low", "close", "volume")}
    times = {"open_ts": [at(hour) for hour in range(5)], "ts": [at(hour + 1) for hour in range(5)]}
    data = from_columns({"bars": {("A", "1h", HOUR): {**times, **plain, **quotes}}})
    assert fills(agreed_replay(data, table(propose(1, stop_loss=95.0)), settings(5)))[1] == (3, 94.0, "STOP_LOSS")


@pytest.mark.parametrize(
    ("kind", "margin", "bought"),
    [("linear_perp", MarginMode.CROSS, 10), ("linear_perp", MarginMode.ISOLATED, 7), ("spot", MarginMode.CROSS, 7)],
)
@pytest.mark.parametrize("bars", [5, 12])
def test_what_quiet_bars_have_gained_backs_the_next_entry(kind: str, margin: MarginMode, bought: int, bars: int) -> None:  # R5.2 R6.2 R7.2
    # three at 100 bind 300 of 1,000; at 200 they have gained 300, which is free under cross margin alone.  Decided inside a bar
    both = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 12.0, name="t"))
    data = market({"A": closing_at(150, *[200] * bars), "B": [FLAT] * (bars + 3)})
    chosen = settings(bars + 3, strategies=both, instruments=(instrument("A", kind=kind), instrument("B", kind=kind)), margin=margin)
    result = agreed_replay(data, table(propose(1), propose(bars + 1.5, symbol="B", strategy="t")), chosen)
    assert [one["qty"] for one in of_kind(result, RecordKind.APPROVED)] == [3, bought]


@pytest.mark.parametrize("bars", [2, 9])
def test_a_level_follows_the_quiet_bars(bars: int) -> None:  # R3.5
    # the best of them, 112, moves the stop to 107; it had been at 95
    candles = closing_at(112, *[110] * bars, 106, 106)
    assert fills(held(candles, propose(1, trailing=5.0)))[1] == (bars + 4, 107.0, "TRAILING_STOP")


@pytest.mark.parametrize("bars", [2, 9])
def test_funding_comes_before_the_sample_of_its_instant(bars: int) -> None:  # R1.2 R7.1
    # 1 % of 300.00 at the close of the last of some quiet bars
    funding = {"funding": {"A": {"ts": [at(bars)], "rate": [0.01], "mark": [100.0]}}}
    assert held([FLAT] * 12, data=funding).equity == [100_000] * (bars - 1) + [99_700] * (13 - bars)


def test_interest_on_debt_is_due_inside_a_bar() -> None:  # R6.4
    # bars end at half past; of two hedged positions the one that has lost 2,000.00 of 1,000.00 ends at 22:30: 1 % of the rest is due at 0:00
    times = [at(20.5 + i) for i in range(9)]
    columns: Row = {name: [100.0] * 8 for name in ("open", "high", "low", "close", "volume")}
    for name in ("open", "high", "low", "close"):
        columns[name][2:] = [75.0] * 6
    columns["low"][1] = columns["close"][1] = 75.0
    data = from_columns({"bars": {("A", "1h", HOUR): {"open_ts": times[:-1], "ts": times[1:], **columns}}})
    rows = [propose(21.5, strategy="long"), propose(21.5, SHORT, strategy="short"), propose(22.5, Action.EXIT, strategy="long")]
    hedged = (strategy(SizeKind.FIXED_QTY, 80.0, name="long"), strategy(SizeKind.FIXED_QTY, 80.0, name="short"))
    chosen = settings(30, strategies=hedged, leverage=20.0, interest=(DatedRate(at(-24), 3.65),))
    result = agreed_replay(data, table(*rows), chosen)
    assert [(one["ts"], one["amount"]) for one in of_kind(result, RecordKind.INTEREST)] == [(at(24), -1_000)]
    assert result.equity == [100_000] * 3 + [99_000] * 5


def test_a_session_goes_no_further_than_it_is_told() -> None:  # R9.4
    session = Session(market({"A": closing_at(*range(101, 109))}), table(propose(1)), settings(10))
    session.advance(at(5))
    session.propose(Proposal("A", "exit", "s"))
    records = session.run().records
    assert records[records["kind"] == RecordKind.FILL]["ts"].tolist() == [at(1), at(6)]  # 5 is over: decided then, it fills an hour later


def test_a_session_lets_go_of_its_arrays_at_once() -> None:
    gc.collect()
    gc.disable()
    try:
        session = Session(market({"A": quiet()}), table(propose(1)), settings(BARS))
        result, arrays = session.run(), weakref.ref(session.state)
        del session
        assert arrays() is None
        assert len(result.equity) == BARS
    finally:
        gc.enable()
