"""Fees and slippage, worked by hand: per fill, at least, by what was traded lately, by the share of volume."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset import Dataset, from_columns
from engine.instrument import Decimals
from engine.ledger import Ledger, LedgerError, ledger_header
from engine.schema import Action, OrderType, RecordKind, SizeKind, Slippage
from engine.session import Session
from engine.settings import FeeTier, Settings
from engine.verify import verify_ledger
from tests.differential import agreed_replay
from tests.market_changes import run
from tests.markets import Case, random_case
from tests.oracle.examples import FLAT, HOUR, Candles, Row, at, fills, instrument, market, of_kind, propose, settings, strategy, table
from tests.oracle.replay import OracleResult

DAY = 24 * HOUR
FILL, CANCELLED = RecordKind.FILL, RecordKind.CANCELLED


def one_symbol(candles: Candles, *rows: Row, data: Dataset | None = None, **changes: Any) -> OracleResult:
    return agreed_replay(market({"A": candles}) if data is None else data, table(*rows), settings(len(candles), **changes))


def fees(result: OracleResult) -> list[int]:
    return [record["fee"] for record in of_kind(result, FILL)]


@pytest.mark.parametrize(
    ("costs", "fee"),  # of 3 at 100: 300.00
    [
        ({"flat": 1.5}, 150),
        ({"flat": 1.5, "taker_bps": 10.0, "per_unit": 0.25}, 150 + 30 + 75),
        ({"min_fee": 1.0, "taker_bps": 10.0}, 100),
        ({"min_fee": 0.29, "taker_bps": 10.0}, 30),
        ({"min_fee": 1.0, "flat": 0.8, "taker_bps": 10.0}, 110),
        ({"min_fee": 1.0, "taker_bps": -10.0}, 100),
        ({"taker_bps": -10.0}, -30),
        ({"per_unit": 1.0}, 300),
        ({"min_fee": 0.01}, 1),
    ],
)
def test_fees_add_up_and_are_at_least_the_minimum(costs: dict[str, float], fee: int) -> None:  # R2.6
    assert fees(one_symbol([FLAT, FLAT], propose(1), **costs)) == [fee, fee]


def daily(closes: int) -> Dataset:
    times = [at(24 * day) for day in range(closes + 1)]
    flat = [100.0] * closes
    columns = {"open_ts": times[:-1], "ts": times[1:], "open": flat, "high": flat, "low": flat, "close": flat, "volume": [1.0] * closes}
    return from_columns({"bars": {("A", "1d", DAY): columns}})


TIERS = (FeeTier(0.0, 2.0, 10.0), FeeTier(500.0, 1.0, 5.0), FeeTier(900.0, 0.0, 1.0))


def test_the_rate_falls_with_what_was_filled_in_the_last_thirty_days() -> None:  # R2.6
    # fills of 300.00 each: before those of days 1 and 3 less than 500, then 600, 900, and three in the window until day 33; at day 65 none
    rows = [propose(24 * day, Action.EXIT if i % 2 else Action.ENTER_LONG) for i, day in enumerate((1, 3, 5, 7, 31, 33, 65, 66))]
    result = one_symbol([FLAT] * (24 * 70), *rows, data=daily(70), fee_tiers=TIERS)
    assert [(fill["ts"] - at(0)) // DAY for fill in of_kind(result, FILL)] == [1, 3, 5, 7, 31, 33, 65, 66]
    assert fees(result) == [30, 30, 15, 3, 3, 3, 30, 30]


def test_a_fill_leaves_the_window_when_it_is_thirty_days_old() -> None:  # R2.6
    rows = [propose(24 * day, Action.EXIT if i % 2 else Action.ENTER_LONG) for i, day in enumerate((1, 2, 31, 32))]
    early = one_symbol([FLAT] * (24 * 40), *rows, data=daily(40), fee_tiers=TIERS)  # at day 31 the fill of day 1 is out: 300 left
    rows = [propose(24 * day, Action.EXIT if i % 2 else Action.ENTER_LONG) for i, day in enumerate((1, 2, 30, 32))]
    late = one_symbol([FLAT] * (24 * 40), *rows, data=daily(40), fee_tiers=TIERS)  # at day 30 it is in: 600
    assert (fees(early)[2], fees(late)[2]) == (30, 15)


def test_nothing_but_fills_counts_as_traded() -> None:  # R2.6
    # 300.00 after the first fill, a cent less than the tier asks for; 600.00 after the second
    result = one_symbol([FLAT] * 5, propose(1), propose(2, Action.EXIT), propose(3), fee_tiers=(TIERS[0], FeeTier(300.01, 1.0, 5.0)))
    assert fees(result) == [30, 30, 15, 15]


def test_a_stop_after_a_quiet_month_leaves_the_window_too() -> None:  # R2.6
    # 600.00 each: at day 40 nothing is in the window, and at day 80 again nothing: the rate is the first tier's
    data = daily(90)
    data.columns["bars"]["low"].setflags(write=True)
    data.columns["bars"]["low"][39] = 90.0
    six = (strategy(SizeKind.FIXED_QTY, 6.0),)
    rows = [propose(24, stop_loss=95.0), propose(24 * 80), propose(24 * 81, Action.EXIT)]
    result = one_symbol([FLAT] * (24 * 90), *rows, data=data, strategies=six, fee_tiers=TIERS)
    assert [((fill["ts"] - at(0)) // DAY, fill["fee"]) for fill in of_kind(result, FILL)] == [(1, 60), (40, 57), (80, 60), (81, 30)]


def test_a_fill_counts_from_the_instant_at_which_it_is_the_last_record() -> None:  # R2.6
    # bought at 95 on day 40 by a limit of day 1, and sold on day 41 at the rate that 570.00 have earned; what the ledger has room for is not read
    data = daily(50)
    data.columns["bars"]["low"].setflags(write=True)
    data.columns["bars"]["low"][39] = 90.0
    rows = [propose(24, order_type=int(OrderType.LIMIT), limit_price=95.0), propose(24 * 41, Action.EXIT)]
    session = Session(data, table(*rows), settings(24 * 50, strategies=(strategy(SizeKind.FIXED_QTY, 6.0),), fee_tiers=TIERS))
    session.state.ledger["ts"] = 0
    records = session.run().records
    assert [(fill["price"], fill["fee"]) for fill in records[records["kind"] == FILL]] == [(95.0, 11), (100.0, 30)]


def test_what_is_filled_at_one_instant_counts_in_order() -> None:  # R2.6 R1.4
    three = tuple(strategy(SizeKind.FIXED_QTY, 3.0, name=name) for name in "abc")
    rows = [propose(1, strategy=name) for name in "abc"]
    assert fees(one_symbol([FLAT, FLAT], *rows, strategies=three, fee_tiers=TIERS))[:3] == [30, 30, 15]


def test_a_reservation_is_made_at_the_rate_of_its_time_and_a_rebate_is_not_counted_on() -> None:  # R5.2
    tiers = (FeeTier(0.0, 0.0, 100.0), FeeTier(300.0, 0.0, -50.0))
    two = tuple(strategy(SizeKind.FIXED_QTY, 3.0, name=name) for name in "ab")
    result = one_symbol([FLAT] * 4, propose(1, strategy="a"), propose(2, strategy="b"), strategies=two, fee_tiers=tiers)
    assert [record["amount"] for record in of_kind(result, RecordKind.APPROVED)] == [30_000 + 300, 30_000]
    assert fees(result)[:2] == [300, -150]


@pytest.mark.parametrize(
    ("kind", "k", "limit", "volume", "buy", "sell"),  # three lots at 100
    [
        (Slippage.VOLUME_SHARE, 0.5, 1.0, 30.0, 100.5, 99.5),  # a tenth of the volume: 0.5 * 0.01
        (Slippage.VOLUME_SHARE, 0.5, 0.05, 30.0, 100.2, 99.8),  # at most a twentieth: 0.125 %, on the tick against it
        (Slippage.SQRT_IMPACT, 0.1, 1.0, 300.0, 101.0, 99.0),  # a hundredth: 0.1 * 0.1
        (Slippage.SQRT_IMPACT, 0.1, 1.0, 1.0, 110.0, 90.0),  # more than there was: the whole
        (Slippage.SQRT_IMPACT, 0.1, 1.0, 0.0, 110.0, 90.0),  # nothing traded: the whole too
        (Slippage.VOLUME_SHARE, 0.5, 0.1, 0.0, 100.5, 99.5),
    ],
)
def test_a_taker_moves_the_price_by_its_share_of_the_bar_before(
    kind: Slippage, k: float, limit: float, volume: float, buy: float, sell: float
) -> None:  # R2.6 R2.8
    data = with_volumes([FLAT] * 3, [volume, 7.0, 7.0])
    result = one_symbol([FLAT] * 3, propose(1), data=data, slippage=kind, slippage_amount=k, slippage_limit=limit, finalize_close=False)
    short = one_symbol(
        [FLAT] * 3, propose(1, Action.ENTER_SHORT), data=data, slippage=kind, slippage_amount=k, slippage_limit=limit, finalize_close=False
    )
    assert (fills(result)[0][1], fills(short)[0][1]) == (buy, sell)


def with_volumes(candles: Candles, volume: list[float]) -> Dataset:
    times = [at(hour) for hour in range(len(candles) + 1)]
    prices = dict(zip(("open", "high", "low", "close"), zip(*candles, strict=True), strict=True))
    return from_columns({"bars": {("A", "1h", HOUR): {"open_ts": times[:-1], "ts": times[1:], **prices, "volume": volume}}})


def test_a_stop_inside_a_bar_knows_the_volume_of_the_bar_before() -> None:  # R2.8
    candles = [FLAT, FLAT, (100, 100, 90, 95)]
    data = with_volumes(candles, [300.0, 30.0, 3.0])
    result = one_symbol(candles, propose(1, stop_loss=95.0), data=data, slippage=Slippage.SQRT_IMPACT, slippage_amount=0.01)
    # in: 0.01 * sqrt(0.01) of 100; out: 0.01 * sqrt(0.1) of 95 = 0.3004, at the tick below 94.69
    assert [price for _, price, _ in fills(result)] == [100.1, 94.6]


def test_the_end_of_the_run_knows_its_last_bar() -> None:  # R2.8 R8.6
    data = with_volumes([FLAT] * 2, [300.0, 30.0])
    result = one_symbol([FLAT] * 2, propose(1), data=data, slippage=Slippage.SQRT_IMPACT, slippage_amount=0.1)
    assert [price for _, price, _ in fills(result)] == [101.0, 96.8]  # 0.1 * sqrt(3 / 30) = 3.16 %


def test_a_buy_takes_the_most_lots_it_can_pay_at_the_price_they_make() -> None:  # R5.2
    # spot, 1,000.00 at 100 apiece: ten fit at the reference; nine cost 9 * 109.0 = 981, ten 10 * 110
    spot = (instrument(kind="spot"),)
    changes: Row = {"instruments": spot, "slippage": Slippage.SQRT_IMPACT, "slippage_amount": 0.1}
    data = with_volumes([FLAT] * 2, [11.0, 11.0])
    result = one_symbol([FLAT] * 2, propose(1), data=data, strategies=(strategy(SizeKind.FIXED_QTY, 10.0),), **changes)
    bought = of_kind(result, FILL)[0]
    assert (bought["qty"], bought["price"]) == (9, 109.1)  # 0.1 * sqrt(9 / 11) = 9.045 %
    assert of_kind(result, CANCELLED)[0]["qty"] == 1


@given(st.integers(1, 400), st.sampled_from([Slippage.VOLUME_SHARE, Slippage.SQRT_IMPACT]), st.floats(0.0, 0.9), st.floats(1.0, 500.0))
def test_one_lot_more_could_not_have_been_paid(lots: int, kind: Slippage, k: float, volume: float) -> None:  # R5.2
    spot = (instrument(kind="spot", tick=Decimals(1, 100)),)
    costs: Row = {"slippage": kind, "slippage_amount": k, "taker_bps": 7.0, "flat": 0.5, "min_fee": 0.9}
    chosen = settings(2, instruments=spot, strategies=(strategy(SizeKind.FIXED_QTY, float(lots)),), cash=1_000_000, **costs)
    data = with_volumes([FLAT, FLAT], [volume, volume])
    first = bought(data, chosen)
    if first is None or first["qty"] == lots:
        return
    cost = -first["amount"]
    larger = (strategy(SizeKind.FIXED_QTY, first["qty"] + 1.0),)
    one_more = bought(data, Settings(**{**vars(chosen), "cash": chosen.cash * 4, "strategies": larger}))
    assert one_more is not None
    assert cost <= chosen.cash < -one_more["amount"]


def bought(data: Dataset, chosen: Settings) -> Any:
    records = Session(data, table(propose(1)), chosen).run().records
    found = records[records["kind"] == FILL]
    return found[0] if len(found) else None


@pytest.mark.parametrize("seed", range(300, 330))
def test_the_verifier_knows_every_fee(seed: int) -> None:  # R6.4 R11
    case = tiered(random_case(seed))
    result = run(case)
    header = ledger_header(result)
    verify_ledger(Ledger(result.records, result.symbols, result.strategies, header))
    charged = result.records["kind"] == FILL
    if not charged.any():
        return
    wrong = header | {"fees": header["fees"] | {"flat": header["fees"]["flat"] + 10.0}}
    with pytest.raises(LedgerError, match="fee"):
        verify_ledger(Ledger(result.records, result.symbols, result.strategies, wrong))


def tiered(case: Case) -> Case:
    return case._replace(settings=Settings(**{**vars(case.settings), "fee_tiers": TIERS, "flat": 0.5, "min_fee": 0.0}))
