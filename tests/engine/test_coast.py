"""Quiet bars of the only position, which the replay runs over many at a time: it stops where anything happens, and samples each of them."""

import gc
import math
import weakref
from typing import Any

import pytest

from engine.schema import Action, RecordKind, SizeKind
from engine.session import Session
from engine.settings import HaltLimits
from tests.differential import agreed_replay
from tests.engine.test_margin import quoted
from tests.oracle.examples import LONG, SHORT, Candles, at, fills, market, of_kind, propose, settings, strategy, table
from tests.oracle.replay import OracleResult

BARS = 150
PLACES = [2, 3, 6, 40, 64, 65, 66, 67, 129, 130, 148]  # around the first bars, and where one look at many ends


def quiet(*odd: tuple[int, tuple[float, float, float, float]], bars: int = BARS) -> Candles:
    """Bars between 99 and 101 that close at 100, but for some."""
    return [dict(odd).get(hour, (100.0, 101.0, 99.0, 100.0)) for hour in range(bars)]


def held(candles: Candles, action: Action = LONG, stop: float = 95.0, target: float = 105.0, **changes: Any) -> OracleResult:
    """A position from the open of bar 1 on."""
    row = propose(1, action, stop_loss=stop, take_profit=target)
    return agreed_replay(market({"A": candles}), table(row), settings(len(candles), **changes))


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
    result = held(quiet((place, candle)), action, stop, target)  # type: ignore[arg-type]
    assert [(exit_price, why) for _, exit_price, why in fills(result)][1:] == [(price, reason)]
    assert result.equity[place:] == [100_000 + round(300 * (price - 100.0)) * (1 if action == LONG else -1)] * (BARS - place)


@pytest.mark.parametrize("place", PLACES)
def test_a_level_that_is_nearly_met_does_not(place: int) -> None:  # R3.2
    result = held(quiet((place, (100.0, 104.9, 95.1, 102.0))))
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
    rich = (strategy(SizeKind.FIXED_QTY, 999.0),)
    result = held(quiet((place, (100.0, 101.0, 99.0, 99.0))), stop=math.nan, target=math.nan, cash=99_900, leverage=200.0, strategies=rich)
    assert fills(result)[1:] == [(place + 1, 99.0, "LIQUIDATED_AT_CLOSE")]
    assert (result.equity[place - 1], result.final_equity) == (99_900, 0)


@pytest.mark.parametrize("place", PLACES)
def test_a_halt_looks_at_every_sample(place: int) -> None:  # R5.3
    # three units fall by 1: 3.00 of 1,000.00
    result = held(quiet((place, (100.0, 101.0, 99.0, 99.0))), halts=HaltLimits(drawdown=0.003))
    assert [record["ts"] for record in of_kind(result, RecordKind.RISK_ALERT)] == [at(place + 1)]


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
