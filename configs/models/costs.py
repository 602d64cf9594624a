"""Models of the user's own: each a pure function of numbers, compiled when the run begins.  See docs/models.md."""

from engine.models import draw


def fee(notional: float, qty: float, maker: float) -> float:
    """An exchange that charges 2 bp to makers and 5 bp to takers, and never less than a cent."""
    return max(notional * (0.0002 if maker > 0.0 else 0.0005), 0.01)


def slippage(price: float, qty: float, volume: float, half_spread: float, side: float, key: int) -> float:
    """One basis point, and a tenth of the share of the last bar's volume, at most 5 %."""
    return 0.0001 + (min(0.1 * qty / volume, 0.05) if volume > 0.0 else 0.05)


def fill(price: float, qty: float, volume: float, half_spread: float, side: float, key: int) -> float:
    """Somewhere between the touch and three half-spreads away: the same place for the same bar and seed, whatever else is drawn."""
    return price * (1.0 + side * half_spread * (1.0 + 2.0 * draw(key, 0)))


def chandelier(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    """After three bars, a stop 8 % behind the close; a level that would loosen the stop is not taken."""
    return close * (1.0 - side * 0.08) if bars >= 3.0 else stop
