"""A crossover of two simple averages, decided bar by bar inside the replay.

The class is told of each closed bar of the series the run executes on, and answers with proposals. It is shown nothing that is not known yet,
so it needs no certificate; it costs some microseconds a bar, which a strategy of features and rules does not.
"""

from engine.mux import CandleClose
from engine.proposal import Proposal
from engine.strategy import EventStrategy
from engine.view import View


class SmaCross(EventStrategy):
    """Long when the fast average crosses above the slow one, out when it is below; a stop some fraction of the fill price away.

    Parameters
    ----------
    fast, slow
        Bars of the averages.
    stop
        Fraction of the fill price.
    """

    def __init__(self, fast: int = 20, slow: int = 50, stop: float = 0.1) -> None:
        if not 0 < fast < slow:
            raise ValueError(f"fast is {fast} and slow is {slow}; the fast average is the shorter one")
        self.fast, self.slow, self.stop = fast, slow, stop
        self.above: dict[str, bool] = {}  # by symbol, whether the fast average was above at the close before

    def on_event(self, event: CandleClose, view: View) -> Proposal | None:
        """Decide at a close."""
        close = view.history(event.symbol, n=self.slow)["close"]
        if len(close) < self.slow:
            return None
        fast, slow = close[-self.fast :].mean(), close.mean()
        before, self.above[event.symbol] = self.above.get(event.symbol), bool(fast > slow)
        if fast > slow and before is False:
            return Proposal(event.symbol, "enter_long", stop_loss={"fraction": self.stop})
        if fast < slow:
            return Proposal(event.symbol, "exit_long")
        return None
