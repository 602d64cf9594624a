"""A table of proposals: what is refused, where and in which words, and in what order the rest stands.  # R1.1 R1.5 R1.7 R2.1"""

import re
from typing import Any

import numpy as np
import pytest

from engine.proposals import ProposalError, Proposals, build_proposals
from engine.schema import NONE, Action, OrderType, TimeInForce
from engine.tape import build_tape
from tests.oracle.examples import FLAT, at, market, propose, settings, table


def built(columns: dict[str, Any], symbols: str = "A", bars: int = 4, **changes: Any) -> Proposals:
    """A table for hourly bars of some symbols."""
    chosen = settings(bars, symbols=symbols, **changes)
    tape = build_tape(market({symbol: [FLAT] * bars for symbol in symbols}), chosen)
    return build_proposals(columns, list(symbols), ["s"], tape, chosen)


def rows(*given: dict[str, Any]) -> dict[str, Any]:
    """As many proposals as there are columns' values, an hour apart."""
    (columns,) = given
    n = len(next(iter(columns.values())))
    return table(*(propose(hour + 1) for hour in range(n))) | columns


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"action": [0, int(max(Action)), -1]}, "proposal row 2: action -1 is not one of ['enter_long', 'enter_short', 'exit',"),
        ({"action": [0, int(max(Action)), int(max(Action)) + 1]}, f"proposal row 2: action {max(Action) + 1} is not one of ['enter_long',"),
        ({"order_type": [0, 3, 4]}, "proposal row 2: order_type 4 is not one of ['market', 'limit', 'stop', 'stop_limit']"),
        ({"order_type": [3, -1, 0]}, "proposal row 1: order_type -1 is not one of ['market',"),
        ({"tif": [0, 9, 0]}, "proposal row 1: tif 9 is not one of ['gtc',"),
        ({"tif": [0, 0, -2]}, "proposal row 2: tif -2 is not one of ['gtc',"),
        (
            {"tif": [int(TimeInForce.BARS)] * 3, "tif_value": [1, 0, -5]},
            "proposal row 1: tif_value 0 is not a number of bars; bars(n) has n from 1",
        ),
        (
            {"tif": [int(TimeInForce.GTC), 0, int(TimeInForce.BARS)], "tif_value": [0, 0, -5]},
            "proposal row 2: tif_value -5 is not a number of bars",
        ),
        ({"available_ts": [at(1), at(2) - 1, at(3) - 2]}, f"proposal row 1: available_ts {at(2) - 1} is before ts {at(2)}, the close"),
        ({"symbol": [0, 1, 0]}, "proposal row 1: symbol code 1 names none of the 1 given names; codes count from 0"),
        ({"symbol": [0, 0, -1]}, "proposal row 2: symbol code -1 names none of the 1 given names"),
        ({"strategy": ["s", "t", "u"]}, "proposal row 1: strategy 't' is not of this run, which has s"),
        (
            {"action": [0, int(Action.TARGET), 2], "weight": [0.1, 0.1, 0.1], "order_type": [1, 2, 1]},
            "proposal row 1: a target is a market order that is good till cancelled",
        ),
        ({"action": [0, 2, int(Action.TARGET)]}, "proposal row 2: a target has no weight; give the column weight"),
    ],
)
def test_what_cannot_be_is_refused_with_its_row_and_value(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(ProposalError, match=re.escape(said)):
        built(rows(columns))


def test_a_limit_may_rest_for_one_bar_and_a_target_stand_beside_it() -> None:  # R2.1
    limits = {"order_type": [int(OrderType.STOP_LIMIT)] * 2, "tif": [int(TimeInForce.BARS)] * 2, "tif_value": [1, 7]}
    assert built(rows(limits)).tif_value.tolist() == [1, 7]
    beside = {"action": [0, int(Action.TARGET)], "order_type": [1, 0], "tif": [int(TimeInForce.IOC), 0], "weight": [np.nan, 0.5]}
    assert built(rows(beside)).order_type.tolist() == [1, 0]


@pytest.mark.parametrize(("symbols", "named"), [("ABCDEFGH", "A, B, C, D, E, F, G, H"), ("ABCDEFGHI", "A, B, C, D, E, F, G, H")])
def test_the_first_eight_of_a_run_are_named(symbols: str, named: str) -> None:
    with pytest.raises(ProposalError, match=f"symbol 'Z' is not of this run, which has {named}$"):
        built(rows({"symbol": ["Z"]}), symbols)


def test_no_action_is_an_error_and_all_else_has_a_default() -> None:
    bare = {"ts": [at(1), at(2)], "symbol": ["A", "A"], "strategy": ["s", "s"]}
    with pytest.raises(ProposalError, match="proposals: no column 'action'"):
        built(bare)
    found = built(bare | {"action": [0, 2]})
    assert (found.available_ts.tolist(), found.score.tolist()) == ([at(1), at(2)], [0.0, 0.0])
    levels = (found.stop_loss, found.take_profit, found.trailing, found.break_even, found.limit_price, found.stop_price)
    assert all(np.isnan(level).all() and len(level) == 2 for level in levels)
    assert (found.max_bars.tolist(), found.order_type.tolist(), found.tif.tolist(), found.tif_value.tolist()) == ([0, 0],) * 4
    assert len(found.weight) == len(found.leg) == 0


def test_none_are_none() -> None:
    empty = {"ts": [], "symbol": [], "strategy": [], "action": []}
    assert len(built(empty).ts) == 0
    assert len(built(empty, bars=1, start_us=at(9), end_us=at(10)).ts) == 0


def test_without_a_bar_there_is_nothing_to_propose() -> None:  # R8.6
    assert len(built(rows({"score": [1.0]}), start_us=at(9), end_us=at(10)).ts) == 0
    assert built(rows({"score": [1.0]}), start_us=at(2), end_us=at(4)).available_ts.tolist() == [at(2)]


def test_proposals_end_with_the_last_close_of_the_run() -> None:  # R8.6
    columns = rows({"score": [1.0, 2.0, 3.0]}) | {"available_ts": [at(1), at(4), at(4) + 1]}
    assert built(columns).score.tolist() == [1.0, 2.0]


def test_of_one_instant_symbol_and_strategy_the_sequence_decides() -> None:  # R1.1
    given = rows({"score": [1.0, 2.0, 3.0, 4.0]}) | {"available_ts": [at(4)] * 4, "ts": [at(1)] * 4}
    assert built(given | {"sequence": [3, 1, 2, 0]}).score.tolist() == [4.0, 2.0, 3.0, 1.0]
    assert built(given | {"symbol": ["B", "A", "B", "A"], "sequence": [0, 5, 1, 4]}, "AB").score.tolist() == [4.0, 2.0, 1.0, 3.0]
    assert built(given).score.tolist() == [1.0, 2.0, 3.0, 4.0]
    late = given | {"available_ts": [at(4), at(3), at(2), at(1)]}
    assert built(late).score.tolist() == [4.0, 3.0, 2.0, 1.0]


@pytest.mark.parametrize("given", [[NONE, 1], [0, 1], [7, 7], [1, 0], [0, 4], [4, 1]])
def test_the_last_bar_closed_is_looked_up_where_a_given_one_is_not_it(given: list[int]) -> None:
    # A has rows 0 to 3 and B rows 4 to 7; a row of B is none of A's, though it closes at the same time
    assert built(rows({"row": given}), "AB").row.tolist() == [0, 1]
    assert built(rows({"symbol": ["A", "B"], "row": given}), "AB").row.tolist() == [0, 5]
    assert built(table(propose(2)) | {"row": [0]}, "AB").row.tolist() == [1]
