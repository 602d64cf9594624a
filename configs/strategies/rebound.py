"""A strategy of the classic kind: one function that answers each closed bar with a dictionary, or None."""

from typing import Any

from engine.signals import SignalStrategy, Slices


class Rebound(SignalStrategy):
    """Buys a fall through the lowest close of n bars, for a rise back to their mean, with a stop as far below.

    Parameters
    ----------
    n
        Bars looked back on.
    """

    def __init__(self, n: int = 48) -> None:
        self.n = n

    def signal(self, index: int, slices: Slices) -> dict[str, Any] | None:
        """Answer the bar that has just closed."""
        close = slices["1h"]["close"]
        if index < self.n or close[index] >= close[index - self.n : index].min():
            return None
        mean = float(close[index - self.n : index].mean())
        return {
            "direction": "buy",
            "sl": 2 * close[index] - mean,
            "tp": mean,
            "reason": "new low",
            "tags": ["reversion"],
            "meta": {"mean": mean},
        }
