"""The equity sample and the halts that it may start.  # R5.3"""

import math
from typing import NamedTuple

from engine.schema import DAY_US, NEVER, Reason
from engine.settings import Settings


class Alert(NamedTuple):
    """A halt that starts."""

    reason: Reason
    lost: float  # fraction


class Halts:
    """Day's base, peak, and until when entries are refused."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.base = settings.cash
        self.peak = settings.cash
        self.last_equity = settings.cash
        self.day_end: int | None = None
        self.daily_until: int | None = None
        self.drawdown_until: int | None = None  # not None: halted

    def refuse_entries(self, ts: int) -> bool:
        """Whether entries at this time are refused."""
        return any(until is not None and ts < until for until in (self.daily_until, self.drawdown_until))

    def sample(self, ts: int, equity: int) -> list[Alert]:
        """Take one sample of equity and say which halts it starts."""
        day_end = -(-ts // DAY_US) * DAY_US  # a close at midnight belongs to the day that ends
        if self.day_end is not None and day_end > self.day_end:
            self.base = self.last_equity
        self.day_end, self.last_equity = day_end, equity
        alerts = [self._daily_loss(day_end, equity), self._drawdown(ts, equity)]
        return [alert for alert in alerts if alert is not None]

    def _daily_loss(self, day_end: int, equity: int) -> Alert | None:
        limit = self.settings.daily_loss_halt
        if self.daily_until == day_end or not math.isfinite(limit) or self.base - equity < limit * self.base:
            return None
        self.daily_until = day_end
        return Alert(Reason.DAILY_LOSS, (self.base - equity) / self.base)

    def _drawdown(self, ts: int, equity: int) -> Alert | None:
        if self.drawdown_until is not None:
            if ts < self.drawdown_until:
                return None
            self.drawdown_until, self.peak = None, equity
        self.peak = max(self.peak, equity)
        limit = self.settings.drawdown_halt
        if not math.isfinite(limit) or self.peak - equity < limit * self.peak:
            return None
        self.drawdown_until = min(NEVER, ts + self.settings.resume_after_us)
        return Alert(Reason.DRAWDOWN, (self.peak - equity) / self.peak)
