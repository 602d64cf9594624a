"""Signals of the classic kind: what they may say, what they become, and what they can see."""

from typing import Any

import numpy as np
import pytest

from engine.broadcast import HandlerError
from engine.dataset import from_columns
from engine.schema import Action, OrderType
from engine.session import Session
from engine.signals import SignalError, SignalStrategy, Slices, normalised, proposal_of
from engine.view import PendingOrder, View
from tests.market_changes import tables_of
from tests.markets import Case, random_case

NAN = float("nan")
BARE = {name: [] for name in ("ts", "symbol", "strategy", "action")}


@pytest.mark.parametrize(
    ("given", "direction", "action"),
    [
        ("buy", "long", Action.ENTER_LONG),
        ("LONG", "long", Action.ENTER_LONG),
        ("sell", "short", Action.ENTER_SHORT),
        ("short", "short", Action.ENTER_SHORT),
        ("exit", "exit", Action.EXIT),
    ],
)
def test_directions_have_two_names(given: str, direction: str, action: Action) -> None:
    signal = normalised({"direction": given}, 100.0)
    assert signal["direction"] == direction and proposal_of("A", signal).action == action


def test_a_signal_becomes_a_proposal_with_its_levels() -> None:
    signal = normalised({"direction": "sell", "sl": 110, "tp": 90.5, "score": 2, "tags": "fade", "meta": {"k": (1, 2)}}, 100.0)
    assert proposal_of("A", signal).values == {"stop_loss": 110.0, "take_profit": 90.5, "score": 2.0}
    assert signal["tags"] == ["fade"] and signal["meta"] == {"k": [1, 2]} and signal["type"] == "market" and signal["entry"] is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "bar 7: it has no direction; directions are buy, long, sell, short, exit"),
        ({"direction": "up"}, "bar 7: direction 'up' is not one of buy, long, sell, short, exit"),
        ({"direction": 1}, "direction 1 is not one of"),
        ({"direction": "buy", "quantity": 1.0}, "no key 'quantity'; keys are"),
        ({"direction": "buy", "directoin": 1.0}, "no key 'directoin'; did you mean 'direction'"),
        ({"direction": "buy", "sl": 101.0}, "sl 101.0 is not below the entry 100.0 of a long"),
        ({"direction": "buy", "sl": 100.0}, "sl 100.0 is not below the entry 100.0 of a long"),
        ({"direction": "buy", "tp": 99.0}, "tp 99.0 is not above the entry 100.0 of a long"),
        ({"direction": "sell", "sl": 99.0}, "sl 99.0 is not above the entry 100.0 of a short"),
        ({"direction": "sell", "tp": 101.0}, "tp 101.0 is not below the entry 100.0 of a short"),
        ({"direction": "buy", "entry": 90.0, "sl": 95.0}, "sl 95.0 is not below the entry 90.0 of a long"),
        ({"direction": "buy", "sl": NAN}, "sl is nan; leave the key out"),
        ({"direction": "buy", "tp": float("inf")}, "tp is inf"),
        ({"direction": "buy", "sl": -1.0}, "sl -1.0 is not a positive price"),
        ({"direction": "buy", "sl": "low"}, "sl 'low' is not a number"),
        ({"direction": "buy", "score": NAN}, "score is nan"),
        ({"direction": "buy", "type": "iceberg"}, "type 'iceberg' is not one of market, limit, stop"),
        ({"direction": "exit", "sl": 90.0}, "an exit takes the whole position at the market; leave out sl"),
        ({"direction": "buy", "reason": 3}, "reason is text, not 3"),
        ({"direction": "buy", "tags": [1]}, r"tags are a list of texts, not \[1\]"),
        ({"direction": "buy", "meta": {"at": NAN}}, "meta holds what is not plain"),
        ({"direction": "buy", "meta": [1]}, "meta is a dictionary"),
        ([], r"a signal is a dictionary or None, not \[\]"),
    ],
)
def test_a_signal_that_makes_no_sense_is_refused(given: Any, said: str) -> None:
    with pytest.raises(SignalError, match=said):
        normalised(given, 100.0, "bar 7")


@pytest.mark.parametrize("kind", ["limit", "stop"])
def test_resting_orders_go_to_the_columns_of_that_name(kind: str) -> None:
    given = {"direction": "buy", "type": kind, "entry": 98.0, "sl": 90.0}
    values = proposal_of("A", normalised(given, 100.0)).values
    assert values == {"order_type": OrderType[kind.upper()], f"{kind}_price": 98.0, "stop_loss": 90.0}
    with pytest.raises(SignalError, match=f"a {kind} order needs entry"):
        normalised(given | {"entry": None}, 100.0)


@pytest.mark.parametrize(("kind", "factor"), [("limit", 0.5), ("stop", 2.0)])
def test_a_signal_s_order_rests_at_its_price_where_it_can_be_seen(kind: str, factor: float) -> None:  # R2.4
    seen: list[PendingOrder] = []

    class Rests(SignalStrategy):
        def on_event(self, event: Any, view: View) -> Any:
            seen.extend(one for one in view.orders if one.role == "entry")
            return super().on_event(event, view)

        def signal(self, index: int, slices: Slices) -> dict[str, Any]:
            close = slices[next(iter(slices))]["close"][index]
            return {"direction": "buy", "type": kind, "entry": factor * close, "sl": 0.25 * close}

    for seed in range(20):
        case = random_case(seed)
        if not case.settings.models:
            _run(case, Rests())
    assert len(seen) > 10 and {one.order_type for one in seen} == {kind}
    own, other = ([one.limit for one in seen], [one.trigger for one in seen])[:: 1 if kind == "limit" else -1]
    assert all(price > 0 for price in own) and np.isnan(other).all()


class Watcher(SignalStrategy):
    """Keeps what it is shown, and buys every third bar."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def signal(self, index: int, slices: Slices) -> dict[str, Any] | None:
        self.shown.append((slices.symbol, index, {name: slices[name].n for name in slices}))
        for rows in slices.values():
            with pytest.raises(ValueError, match="read-only"):
                rows["close"][:] = 0.0
        return {"direction": "buy", "reason": "third", "meta": {"index": index}} if index % 3 == 0 else None


def _run(case: Case, strategy: SignalStrategy) -> Session:
    session = Session(case.dataset, BARE, case.settings)
    session.add(session.strategies[0], strategy)
    session.run()
    return session


def test_slices_hold_the_rows_up_to_the_bar_that_closed() -> None:
    case = _with_longer_bars(random_case(1))
    watcher = Watcher()
    session = _run(case, watcher)
    ends = {}
    for symbol, index, lengths in watcher.shown:
        execution = session.view.execution_interval(symbol)
        ts = int(_column(case, symbol, execution)[index])
        assert lengths == {name: int(np.searchsorted(_column(case, symbol, name), ts, "right")) for name in session.view.intervals(symbol)}
        assert lengths[execution] == index + 1
        ends[symbol] = ts
    assert set(ends) <= set(session.symbols) and ends and all(len(lengths) == 2 for _, _, lengths in watcher.shown)
    thirds = [one for one in watcher.shown if one[1] % 3 == 0]
    assert [(one["symbol"], one["meta"]["index"], one["reason"]) for one in watcher.signals] == [(s, i, "third") for s, i, _ in thirds]


def _with_longer_bars(case: Case) -> Case:
    """The same with a second series of each symbol: its bars by fours."""
    tables = tables_of(case.dataset)
    for (symbol, _, interval), columns in list(tables["bars"].items()):
        n = len(columns["ts"]) // 4 * 4
        longer = {name: column[3:n:4] for name, column in columns.items()} | {"open_ts": columns["open_ts"][0:n:4]}
        tables["bars"][symbol, "fours", 4 * interval] = longer
    return case._replace(dataset=from_columns(tables))


def _column(case: Case, symbol: str, interval: str) -> Any:
    series = case.dataset.find("bars", symbol, interval)
    assert series is not None
    return case.dataset.view("bars", series)["ts"]


def test_a_bad_signal_names_its_bar() -> None:
    class Bad(SignalStrategy):
        def signal(self, index: int, slices: Slices) -> dict[str, Any]:
            return {"direction": "up"}

    with pytest.raises(HandlerError, match=r"SignalError: signal of Bad at bar \d+ of .* \(20.*Z\): direction 'up' is not one of buy"):
        _run(random_case(1), Bad())
