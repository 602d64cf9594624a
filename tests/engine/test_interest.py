"""Interest on shorts of spot instruments and on the account's debt, worked by hand.  # R6.4"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset import from_columns
from engine.instrument import DatedRate
from engine.invariants import check
from engine.ledger import Ledger, LedgerError, ledger_header
from engine.money import interest_payment
from engine.schema import Action, EventKind, RecordKind, SizeKind
from engine.session import ReplayResult, Session
from engine.settings import Conversion, HaltLimits
from engine.verify import verify_ledger
from tests.differential import agreed_replay
from tests.market_changes import run, unlimited, untargeted
from tests.markets import Case, random_case
from tests.oracle.examples import FLAT, SHORT, Row, at, instrument, market, of_kind, propose, settings, strategy, table
from tests.oracle.replay import OracleResult

RATE = (DatedRate(at(-24), 3.65),)  # 1 % a day
PLAIN = [FLAT] * 60


def shorted(
    bars: list[tuple[float, float, float, float]], *rows: Row, borrow: tuple[DatedRate, ...] = RATE, kind: str = "spot", **data: Any
) -> OracleResult:
    """Three units short, 300.00 at a price of 100."""
    share = instrument(kind=kind, shortable=True, borrow=borrow)
    return agreed_replay(market({"A": bars}, **data), table(*rows), settings(len(bars), instruments=(share,)))


def paid(result: OracleResult) -> list[tuple[float, int]]:
    """(hour, money) of each payment of interest."""
    return [((row["ts"] - at(0)) / 3_600_000_000, row["amount"]) for row in of_kind(result, RecordKind.INTEREST)]


def test_a_day_is_a_365th_of_the_yearly_rate() -> None:
    assert interest_payment(365_000, 0.05) == -50
    assert interest_payment(1, 3.65) == 0


def test_a_short_pays_at_each_midnight_on_its_value_at_the_last_close() -> None:  # R6.4
    bars = PLAIN[:30] + [(200.0,) * 4] * 30
    result = shorted(bars, propose(3, SHORT))
    assert paid(result) == [(24, -300), (48, -600)]
    record = of_kind(result, RecordKind.INTEREST)[1]
    assert (record["price"], record["qty"], record["value"], record["phase"]) == (200.0, 3, 3.65, EventKind.FUNDING_UPDATE)
    assert result.records[record["cause"]]["kind"] == RecordKind.POSITION
    assert result.final_equity == 100_000 - 30_000 - 900


def test_the_close_at_midnight_counts_though_the_bar_ends_then() -> None:  # R1.2 R7.1
    bars = [*PLAIN[:23], (100.0, 150.0, 100.0, 150.0), *[(150.0,) * 4] * 10]
    assert paid(shorted(bars, propose(3, SHORT))) == [(24, -450)]


def test_only_what_was_held_before_midnight_pays() -> None:  # R1.3
    assert paid(shorted(PLAIN, propose(24, SHORT), propose(47, Action.EXIT))) == []  # opened at one midnight, gone before the next
    assert paid(shorted(PLAIN, propose(23, SHORT), propose(24, Action.EXIT))) == [(24, -300)]  # leaves at that midnight, after paying
    stopped = [*PLAIN[:23], (100.0, 120.0, 100.0, 100.0), *PLAIN[:10]]
    assert paid(shorted(stopped, propose(3, SHORT, stop_loss=110.0))) == []  # stopped out inside the bar that ends at midnight
    resting = [*PLAIN[:23], (100.0, 120.0, 100.0, 100.0), *PLAIN[:10]]
    entered = propose(3, SHORT, order_type=1, limit_price=110.0)
    assert paid(shorted(resting, entered)) == [(24, -300)]  # filled inside the bar that ends at midnight


def test_rates_are_those_of_the_date_and_days_without_a_rate_cost_nothing() -> None:
    dated = (DatedRate(at(40), 3.65), DatedRate(at(48), 7.3), DatedRate(at(60), 0.0), DatedRate(at(96), 3.65))
    assert paid(shorted(PLAIN * 2, propose(3, SHORT), borrow=dated)) == [(48, -600), (96, -300), (120, -300)]


def test_days_without_bars_are_paid_for() -> None:  # R8.5
    times = [*range(20), *range(80, 100)]
    dataset = market({"A": [FLAT] * 100})
    columns = dataset.view("bars", dataset.series["bars"][0])
    held = {name: column[times] for name, column in columns.items()}
    share = instrument(kind="equity", shortable=True, borrow=RATE)
    weekend = from_columns({"bars": {("A", "1h", 3_600_000_000): held}})
    result = agreed_replay(weekend, table(propose(3, SHORT)), settings(100, instruments=(share,)))
    assert [hour for hour, _ in paid(result)] == [24, 48, 72, 96]


@pytest.mark.parametrize(("kind", "action"), [("spot", Action.ENTER_LONG), ("linear_perp", SHORT)])
def test_longs_and_contracts_borrow_nothing(kind: str, action: Action) -> None:
    assert paid(shorted(PLAIN, propose(3, action), kind=kind)) == []


def test_funding_comes_first_and_a_split_moves_the_price_alone() -> None:  # R1.2 R8.1
    split = {"A": {"ts": [at(30)], "kind": [0], "value": [0.0], "num": [2], "den": [1]}}
    halved = PLAIN[:30] + [(50.0,) * 4] * 30
    result = shorted(halved, propose(3, SHORT), actions=split)
    assert [(row["qty"], row["price"], row["amount"]) for row in of_kind(result, RecordKind.INTEREST)] == [
        (3, 100.0, -300),
        (6, 50.0, -300),
    ]
    # a share A, for which nobody pays funding, and a perpetual P
    funding = {symbol: {"ts": [at(24)], "rate": [0.01], "mark": [100.0]} for symbol in "AP"}
    both = (instrument(kind="equity", shortable=True, borrow=RATE), instrument("P"))
    dataset, rows = market({"A": PLAIN[:30], "P": PLAIN[:30]}, funding=funding), table(propose(3, SHORT), propose(3, symbol="P"))
    records = agreed_replay(dataset, rows, settings(30, instruments=both)).records
    assert [(row["kind"], row["symbol"]) for row in records if row["ts"] == at(24)] == [(RecordKind.FUNDING, 1), (RecordKind.INTEREST, 0)]


def one_short() -> Case:
    """A short that pays 3.00 a day."""
    share = instrument(kind="spot", shortable=True, borrow=RATE)
    return Case(market({"A": PLAIN}), table(propose(3, SHORT)), settings(60, instruments=(share,)))


def owing(**changes: Any) -> Case:
    """Two hedged positions of 8,000.00 on 1,000.00; the price falls by a quarter, and the one that lost 2,000.00 is closed."""
    bars = [*PLAIN[:10], (100.0, 100.0, 75.0, 75.0), *[(75.0,) * 4] * 60]
    hedged = (strategy(SizeKind.FIXED_QTY, 80.0, name="long"), strategy(SizeKind.FIXED_QTY, 80.0, name="short"))
    rows = (
        propose(2, strategy="long"),
        propose(2, SHORT, strategy="short"),
        propose(12, Action.EXIT, strategy="long"),
        propose(30, Action.EXIT, strategy="short"),
    )
    return Case(market({"A": bars}), table(*rows), settings(len(bars), strategies=hedged, leverage=20.0, **changes))


def test_cash_below_zero_pays_once_a_day() -> None:  # R6.4
    result = agreed_replay(*owing(interest=RATE))
    assert [row["cash"] for row in of_kind(result, RecordKind.FILL)][2] == -100_000
    assert paid(result) == [(24, -1_000)]  # the next day the gain of the other position has paid the debt
    record = of_kind(result, RecordKind.INTEREST)[0]
    assert (record["symbol"], record["strategy"], record["cause"], record["value"], record["cash"]) == (-1, -1, -1, 3.65, -101_000)
    assert result.final_equity == 100_000 - 1_000
    assert not of_kind(agreed_replay(*owing()), RecordKind.INTEREST)


def test_interest_on_debt_is_of_no_strategy_and_may_breach_the_portfolio() -> None:  # R5.3
    result = agreed_replay(*owing(interest=RATE, halts=HaltLimits(drawdown=0.01), strategy_halts=HaltLimits(drawdown=3.0)))
    alerts = [(row["symbol"], row["strategy"], row["ts"]) for row in of_kind(result, RecordKind.RISK_ALERT)]
    assert alerts == [(-1, -1, at(24))]


def test_a_short_that_lost_by_interest_alone_is_a_losing_trade() -> None:  # R5.3
    share = instrument(kind="spot", shortable=True, borrow=RATE)
    halts = HaltLimits(losses=1)
    chosen = settings(60, instruments=(share,), halts=halts)
    result = agreed_replay(market({"A": PLAIN}), table(propose(3, SHORT), propose(30, Action.EXIT)), chosen)
    assert len(of_kind(result, RecordKind.RISK_ALERT)) == 1


def verified(result: ReplayResult, **changes: Any) -> Any:
    records = result.records.copy()
    seq = next(i for i, row in enumerate(records) if row["kind"] == RecordKind.INTEREST)
    for name, value in changes.items():
        records[name][seq] = value
    return verify_ledger(Ledger(records, result.symbols, result.strategies, ledger_header(result)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"amount": -299}, "interest"),
        ({"value": 0.1}, "at 3.65"),
        ({"ts": at(23.5)}, "00:00"),
        ({"price": 99.0}, "interest"),
        ({"qty": 1}, "lots"),
        ({"cause": 0}, "follows"),
    ],
)
def test_the_verifier_works_out_each_day_from_the_ledger_alone(changes: dict[str, Any], said: str) -> None:  # R6.4
    result = Session(*one_short()).run()
    totals = verified(result)
    assert (totals.interest, totals.debt_interest, totals.final_equity) == (-600, 0, 99_400)
    with pytest.raises(LedgerError, match=said):
        verified(result, **changes)


@pytest.mark.parametrize("debt", [False, True])
def test_a_day_that_nobody_paid_for_or_twice_is_told(debt: bool) -> None:  # R6.4
    result = Session(*(owing(interest=RATE) if debt else one_short())).run()
    check(result)
    (first, *_) = np.flatnonzero(result.records["kind"] == RecordKind.INTEREST)
    with pytest.raises(LedgerError, match="has not paid the interest"):
        check(replace(result, records=np.delete(result.records, first)))
    with pytest.raises(LedgerError, match="once a day"):
        check(replace(result, records=np.insert(result.records, first, result.records[first])))


@given(st.integers(0, 2**32 - 1))
def test_twice_the_rate_costs_twice_as_much_where_nothing_depends_on_it(seed: int) -> None:
    """Rates of a small fraction of the cash change no decision, only what is paid: each payment by the rounding of one unit."""
    case = untargeted(random_case(seed))
    share = tuple(replace(one, kind="spot", shortable=True, borrow=RATE) for one in case.settings.instruments)
    chosen = replace(unlimited(case.settings), instruments=share, interest=())
    once = run(case._replace(settings=chosen))
    dear = tuple(replace(one, borrow=(DatedRate(at(-24), 7.3),)) for one in share)
    twice = run(case._replace(settings=replace(chosen, instruments=dear)))
    amounts = [[int(row["amount"]) for row in result.records if row["kind"] == RecordKind.INTEREST] for result in (once, twice)]
    assert len(amounts[0]) == len(amounts[1])
    assert all(abs(double - 2 * single) <= 1 for single, double in zip(*amounts, strict=True))


def test_a_share_quoted_in_another_currency_pays_in_the_accounts() -> None:  # R6.4
    rates = [(0.01,) * 4] * 20 + [(0.02,) * 4] * 20
    share = instrument(kind="equity", quote="JPY", shortable=True, borrow=RATE)
    sized = (strategy(SizeKind.FIXED_QTY, 100.0),)
    chosen = settings(40, instruments=(share,), conversions=(Conversion("JPY", "R"),), strategies=sized)
    one = Case(market({"A": [FLAT] * 40, "R": rates}), table(propose(3, SHORT)), chosen)
    result = agreed_replay(*one)
    assert paid(result) == [(24, -200)]  # 1 % of 10,000 yen at 0.02
    assert [row["kind"] for row in result.records if row["ts"] == at(24)] == [RecordKind.CONVERSION, RecordKind.INTEREST]
    assert verified(Session(*one).run()).interest == -200
