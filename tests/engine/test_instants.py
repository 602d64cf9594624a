"""What meets at one instant, one after the other: orders, levels and ages, on examples worked by hand; both replays agree.  # R1.1 R1.4"""

from typing import Any

import pytest

from engine.schema import Action, OrderType, Reason, RecordKind, SizeKind, TimeInForce, Timing
from engine.settings import StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, LONG, SHORT, Row, at, fills, market, of_kind, propose, reasons, settings, table
from tests.oracle.replay import OracleResult

CANCELLED, FILL, ORDER = RecordKind.CANCELLED, RecordKind.FILL, RecordKind.ORDER


def many(symbols: str, bars: int, *rows: Row, **changes: Any) -> OracleResult:
    return agreed_replay(market({symbol: [FLAT] * bars for symbol in symbols}), table(*rows), settings(bars, symbols=symbols, **changes))


@pytest.mark.parametrize(("side", "exits"), [(LONG, Action.EXIT_SHORT), (SHORT, Action.EXIT_LONG)])
def test_an_exit_of_the_other_side_has_nothing_to_close(side: Action, exits: Action) -> None:  # R4.1 R5.4
    single = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=1.0),)
    result = many("A", 4, propose(1, side), propose(2, exits), strategies=single)
    assert result.outcomes == [0, Reason.NOT_HELD]
    assert fills(result)[1] == (4, 100.0, "RUN_ENDED")


def test_what_left_at_a_close_and_came_back_stays_while_another_leaves() -> None:  # R2.3
    # A leaves at 2 and is back at 3; the exit of B at 4 is none of A's
    rows = [propose(1, symbol="A"), propose(1, symbol="B"), propose(2, Action.EXIT), propose(3), propose(4, Action.EXIT, symbol="B")]
    single = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=1.0),)
    result = many("AB", 6, *rows, strategies=single, timing=Timing.CLOSE)
    found = [(record["ts"], record["symbol"], Reason(record["reason"]).name) for record in of_kind(result, FILL)]
    assert found[2:] == [(at(2), 0, "SIGNAL"), (at(3), 0, "FILLED"), (at(4), 1, "SIGNAL"), (at(6), 0, "RUN_ENDED")]


def test_an_entry_after_one_that_ends_at_once_has_its_turn() -> None:  # R1.4 R2.1 R2.6
    # A has volume for one of its three at 94, under its stop: the rest ends with the position, and B fills at the same open
    dataset = market({"A": [FLAT, (94, 94, 94, 94), (94, 94, 94, 94)], "B": [FLAT] * 3})
    rows = [propose(1, score=2.0, stop_loss=95.0), propose(1, symbol="B", score=1.0)]
    result = agreed_replay(dataset, table(*rows), settings(3, symbols="AB", participation=1.0))
    assert [(record["ts"], record["symbol"], record["qty"]) for record in of_kind(result, FILL)][:3] == [
        (at(1), 0, 1),
        (at(1), 1, 1),
        (at(2), 0, 1),
    ]
    assert reasons(result, CANCELLED)[0] == (0, "POSITION_CLOSED")


@pytest.mark.parametrize(("waits", "grows", "expected"), [("A", "B", "CO"), ("B", "A", "OC"), ("A", "A", "OC")])
def test_a_close_ends_what_has_grown_old_symbol_by_symbol(waits: str, grows: str, expected: str) -> None:  # R1.1 R2.1 R3.6
    # at 3 an order of t has had its two bars and a position of s its second; of one symbol the position comes first
    limit = {"order_type": OrderType.LIMIT, "limit_price": 90.0, "tif": TimeInForce.BARS, "tif_value": 2}
    rows = [propose(1, symbol=waits, strategy="t", **limit), propose(1, symbol=grows, max_bars=2)]
    both = tuple(StrategySettings(name, size=SizeKind.FIXED_QTY, amount=1.0) for name in "st")
    found = [record for record in many("AB", 5, *rows, strategies=both).records if record["ts"] == at(3)]
    assert "".join({CANCELLED: "C", ORDER: "O"}.get(record["kind"], "") for record in found) == expected
    assert {(record["kind"], record["reason"]) for record in found[:2]} == {(CANCELLED, Reason.EXPIRED), (ORDER, Reason.MAX_BARS)}
