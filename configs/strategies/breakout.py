"""A breakout of the highest high of n bars, in a market that moves, with a stop a few true ranges away.

A strategy file holds one class. Its parameters are the arguments of the constructor (``params`` in the config); ``features`` names
the columns it needs, ``propose`` says by rules when it would enter and leave. It is given no data: what it returns is checked, certified
and computed for all symbols at once.
"""

import polars as pl

from features.expressions import atr, donchian


class Breakout:
    """Long above the highest high of the last n bars, out below the lowest low of the last half of them.

    Parameters
    ----------
    n
        Bars that the breakout looks back on.
    stop
        Distance of the stop, in average true ranges.
    quiet
        Smallest average true range, as a fraction of the close, at which it trades.
    """

    def __init__(self, n: int = 55, stop: float = 3.0, quiet: float = 0.001) -> None:
        if n < 2:
            raise ValueError(f"n is {n}; a breakout needs at least 2 bars")
        self.n, self.stop, self.quiet = n, stop, quiet

    def features(self) -> dict[str, object]:
        """Columns by name: Polars expressions, or calls as in YAML."""
        return {
            "top": donchian(self.n)["upper"],
            "bottom": donchian(self.n // 2)["lower"],
            "range": atr(14),
            "range_share": atr(14) / pl.col("close"),
            "momentum": {"roc": {"of": "close", "n": self.n}},
        }

    def propose(self) -> dict[str, object]:
        """Rules over the features and the columns of the bars."""
        return {
            "long": f"close > lag(top, 1) and range_share > {self.quiet}",
            "exit_long": "close < lag(bottom, 1)",
            "score": "momentum",
            "stop_loss": f"close - side * {self.stop} * range",
            "trigger": "edge",
        }
