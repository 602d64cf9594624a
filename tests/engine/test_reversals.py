"""Entries that turn a position round: what cash and volume leave of the new side, worked by hand; both replays agree."""

from typing import Any

import pytest

from engine.instrument import Decimals, Rules
from engine.schema import MAKER, MarginMode, OnHeld, OrderType, RecordKind, SizeKind, Slippage
from engine.settings import Conversion, StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, SHORT, Candles, Row, at, fills, instrument, market, of_kind, propose, reasons, settings, table
from tests.oracle.replay import OracleResult

CANCELLED, FILL = RecordKind.CANCELLED, RecordKind.FILL
LIMIT = int(OrderType.LIMIT)


def flat(*prices: float) -> list[tuple[float, float, float, float]]:
    """Bars that do not move."""
    return [(price, price, price, price) for price in prices]


def turning(size: SizeKind = SizeKind.TARGET_WEIGHT, amount: float = 1.0, name: str = "s") -> StrategySettings:
    """A strategy that reverses; its proposals say how much of the equity they are for."""
    return StrategySettings(name, 1.0, size, amount, on_held=OnHeld.REVERSE)


def turned(candles: Candles, *rows: Row, volumes: list[float] | None = None, rates: Candles | None = None, **changes: Any) -> OracleResult:
    data = market({"A": candles} | ({} if rates is None else {"R": rates}))
    if volumes is not None:
        data.columns["bars"]["volume"].setflags(write=True)
        data.columns["bars"]["volume"][:] = volumes
    return agreed_replay(
        data, table(*({"weight": 1.0} | row for row in rows)), settings(len(candles), **({"strategies": (turning(),)} | changes))
    )


def lots(result: OracleResult) -> list[int]:
    """Lots of each fill before the end of the run."""
    return [fill["qty"] for fill in of_kind(result, FILL)][:-1]


def ends(result: OracleResult) -> list[tuple[int, int, str]]:
    """(proposal, lots, reason) of what was cancelled."""
    return [
        (one["proposal"], one["qty"], name) for one, (_, name) in zip(of_kind(result, CANCELLED), reasons(result, CANCELLED), strict=True)
    ]


# cash


def worth(kind: str, *prices: float) -> tuple[Candles, dict[str, Any]]:
    """Bars at dollar prices that do not move, but gap before the third, and the instrument: in yen, of 0.01 dollars each, where it converts."""
    candles = flat(*prices)
    candles[1] = (prices[0], max(prices[:2]), min(prices[:2]), prices[1])
    if not kind.startswith("yen"):
        return candles, {"instruments": (instrument(kind=kind, shortable=True),)}
    quoted = instrument(kind=kind.removeprefix("yen "), shortable=True, quote="JPY")
    yen = [(100 * a, 100 * b, 100 * c, 100 * d) for a, b, c, d in candles]
    return yen, {"instruments": (quoted,), "conversions": (Conversion("JPY", "R"),), "rates": flat(*[0.01] * len(prices))}


@pytest.mark.parametrize(("bps", "opened"), [(0.0, 9), (90.0, 9), (100.0, 8)])
@pytest.mark.parametrize("kind", ["linear_perp", "spot", "yen fx", "yen spot"])
@pytest.mark.parametrize("margin", [MarginMode.CROSS, MarginMode.ISOLATED])
def test_the_new_side_is_what_the_end_of_the_old_one_pays_for(margin: MarginMode, kind: str, bps: float, opened: int) -> None:
    # R4.3 R5.2: five bought at 100 leave at 120 with 1,100, and nine at 120 are 1,080
    # the fees of 500 and of 14 x 120 are 19.62 at 90 bp and 21.80 at 100 bp
    candles, changes = worth(kind, 100, 110, 120)
    result = turned(candles, propose(1, weight=0.5), propose(2, SHORT), margin=margin, taker_bps=bps, **changes)
    assert lots(result) == [5, 5, opened]
    assert ends(result) == ([] if opened == 9 else [(1, 1, "INSUFFICIENT_CASH")])


@pytest.mark.parametrize("kind", ["linear_perp", "spot", "yen fx", "yen spot"])
@pytest.mark.parametrize("margin", [MarginMode.CROSS, MarginMode.ISOLATED])
def test_a_short_that_turns_pays_from_what_it_still_gains(margin: MarginMode, kind: str) -> None:
    # R4.3 R5.2: at 90 the 1,050 were for eleven; five sold at 100 come back at 95 with 25: 1,025 pay for ten
    candles, changes = worth(kind, 100, 90, 95)
    result = turned(candles, propose(1, SHORT, weight=0.5), propose(2), margin=margin, **changes)
    assert (lots(result), ends(result)) == ([5, 5, 10], [(1, 1, "INSUFFICIENT_CASH")])


def test_a_limit_that_turns_a_position_pays_the_maker_fee_of_both_sides() -> None:
    # R2.5 R4.3: 1,000 + 5 x 11 less nine at 111 are 56; four hundredths of 14 x 111 are 62.16
    row = propose(2, SHORT, order_type=LIMIT, limit_price=111.0)
    result = turned([*flat(100), (100, 110, 100, 110), (110, 111, 110, 111)], propose(1, weight=0.5), row, maker_bps=400.0)
    assert (lots(result), ends(result)) == ([5, 5, 8], [(1, 1, "INSUFFICIENT_CASH")])
    assert [fill["flags"] & MAKER for fill in of_kind(result, FILL)] == [0, MAKER, MAKER, 0]
    assert [fill["fee"] for fill in of_kind(result, FILL)][1:3] == [2_220, 3_552]


@pytest.mark.parametrize("size", [SizeKind.TARGET_WEIGHT, SizeKind.ALL_IN])
def test_where_nothing_is_left_to_open_with_the_position_closes_alone(size: SizeKind) -> None:
    # R4.3: ten sold at 100 and bought back at 190 leave 100
    result = turned(flat(100, 100, 190), propose(1, SHORT), propose(2), strategies=(turning(size),), size_at_fill=size == SizeKind.ALL_IN)
    assert [fill[2] for fill in fills(result)] == ["FILLED", "REVERSED"]
    assert ends(result) == [(1, 10 if size == SizeKind.TARGET_WEIGHT else 0, "INSUFFICIENT_CASH")]


def test_a_size_made_at_the_fill_is_all_that_the_end_of_the_old_side_pays_for() -> None:  # R4.3 R5.1
    # ten at 100 leave at 130 with 1,300, and open ten more; the fees are 1 % of 1,000 and of 19 x 130
    plain = turned(flat(100, 100, 130), propose(1), propose(2, SHORT), strategies=(turning(SizeKind.ALL_IN),), size_at_fill=True)
    paid = turned(
        flat(100, 100, 130), propose(1), propose(2, SHORT), strategies=(turning(SizeKind.ALL_IN),), size_at_fill=True, taker_bps=100.0
    )
    assert (lots(plain), ends(plain)) == ([10, 10, 10], [])
    assert (lots(paid), ends(paid)) == ([9, 9, 9], [])


IMPACT: Row = {"slippage": Slippage.SQRT_IMPACT, "slippage_amount": 0.1}
DEEP = 1e20  # volume that no order moves


def test_a_buy_that_turns_a_position_pays_the_price_that_both_sides_make() -> None:
    # R2.6 R5.2: of 2,000, twenty are a hundredth, and move the price by 0.1 x 0.1: 990 do not pay for ten at 101.0, but for nine
    result = turned(flat(100, 100, 100), propose(1, SHORT), propose(2), volumes=[DEEP, 2_000.0, DEEP], **IMPACT)
    assert fills(result)[:3] == [(1, 100.0, "FILLED"), (2, 101.0, "REVERSED"), (2, 101.0, "PARTIAL")]
    assert (lots(result), ends(result)) == ([10, 10, 9], [(1, 1, "INSUFFICIENT_CASH")])


def test_a_sale_that_turns_a_position_is_judged_by_the_best_price_it_may_get() -> None:
    # R2.6 R5.2: twenty at 100, for half of 2,000, leave and open twenty more at 100; the forty are sold at 100 x (1 - 0.1 x 0.1414)
    rows = (propose(1, weight=2.0), propose(2, SHORT, weight=2.0))
    result = turned(flat(100, 100, 100), *rows, volumes=[DEEP, 2_000.0, DEEP], leverage=2.0, **IMPACT)
    assert (lots(result), ends(result)) == ([20, 20, 20], [])
    assert [price for _, price, _ in fills(result)][:3] == [100.0, 98.5, 98.5]


# volume


def test_what_closes_comes_first_and_the_rest_waits() -> None:  # R2.6 R4.3
    # three held and three to open; volumes of the bars before: 0 at 2, 1 at 3, 2 at 4: the position is closed; 2 at 5, 9 at 6
    rows = (propose(1, weight=0.3), propose(2, SHORT, weight=0.3))
    result = turned([FLAT] * 7, *rows, volumes=[3.0, 0.0, 1.0, 2.0, 2.0, 9.0, 9.0], participation=1.0)
    assert [(hour, fill["qty"], reason) for (hour, _, reason), fill in zip(fills(result), of_kind(result, FILL), strict=True)][:-1] == [
        *((1, 3, "FILLED"), (3, 1, "REVERSED"), (4, 2, "REVERSED"), (5, 2, "PARTIAL"), (6, 1, "FILLED")),
    ]
    assert ends(result) == []


def test_a_size_made_at_the_fill_waits_for_the_volume_to_close_first() -> None:  # R2.6 R5.1
    # ten of 100 are sold by 4, 6 of them at 3, when the bar has 2 more: those open, and are the whole of the order
    result = turned(
        [FLAT] * 5,
        *(propose(1), propose(2, SHORT)),
        volumes=[10.0, 4.0, 8.0, 9.0, 9.0],
        participation=1.0,
        strategies=(turning(SizeKind.ALL_IN),),
        size_at_fill=True,
    )
    assert (lots(result), ends(result)) == ([10, 4, 6, 2], [])


def test_a_reversal_takes_the_volume_of_both_its_sides() -> None:  # R2.6
    # of 8 the reversal of three into three takes 6, and leaves 2 of the 4 that another strategy wants
    rows = (propose(1, weight=0.3), propose(2, SHORT, weight=0.3, score=2.0), propose(2, strategy="t", weight=0.4))
    result = turned([FLAT] * 3, *rows, volumes=[9.0, 8.0, 0.0], strategies=(turning(), turning(name="t")), participation=1.0)
    assert [(fill["strategy"], fill["qty"]) for fill in of_kind(result, FILL)][:4] == [(0, 3), (0, 3), (0, 3), (1, 2)]


# lots that have changed since

THREES = (Rules(at(3.5), Decimals(1, 10), Decimals(3, 1)),)
LATE: Row = {"instruments": (instrument(rules=THREES),), "latency_us": 1}


def test_what_opens_is_whole_lots_of_the_time_and_what_closes_is_all() -> None:  # R2.7 R4.3
    # five held, and five to open by an order that fills when a lot is three
    result = turned([FLAT] * 5, propose(1, weight=0.5), propose(3, SHORT, weight=0.5), **LATE)
    assert (lots(result), ends(result)) == ([5, 5, 3], [(1, 2, "BELOW_MIN_QTY")])


def test_what_volume_leaves_to_open_is_whole_lots_of_the_time() -> None:  # R2.6 R2.7
    # nine: five close, and of the four left three open; three more in the next bar; the seventh is no lot
    rows = (propose(1, weight=0.5), propose(3, SHORT, weight=0.7))
    result = turned([FLAT] * 7, *rows, volumes=[9.0] * 7, participation=1.0, **LATE)
    assert (lots(result), ends(result)) == ([5, 5, 3, 3], [(1, 1, "BELOW_MIN_QTY")])


def test_what_cash_leaves_to_open_is_whole_lots_of_the_time() -> None:  # R2.7 R5.2
    # 1,050 at 110 were for nine; at 130 there are 1,150, which pay for eight: two lots of three
    candles = [*flat(100), (100, 100, 100, 100), (100, 110, 100, 110), *flat(130, 130)]
    result = turned(candles, propose(1, weight=0.5), propose(3, SHORT), **LATE)
    assert (lots(result), ends(result)) == ([5, 5, 6], [(1, 3, "INSUFFICIENT_CASH")])
