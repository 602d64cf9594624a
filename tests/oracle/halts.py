"""The equity sample and the halts that it may start, for the portfolio, each strategy and each symbol.  # R5.3"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from engine.schema import DAY_US, NEVER, NONE, Reason, RecordKind
from engine.settings import HaltLimits
from tests.oracle.account import Account

STOPS = (Reason.STOP_LOSS, Reason.TRAILING_STOP, Reason.BREAK_EVEN, Reason.MODEL_STOP)


class Scope(NamedTuple):
    """Which entries a halt stops: those of one symbol, of one strategy, or (both None) all."""

    symbol: str | None = None
    strategy: str | None = None

    def holds(self, symbol: str, strategy: str) -> bool:
        """Whether a (symbol, strategy) is in it."""
        return self.symbol in (None, symbol) and self.strategy in (None, strategy)


class Alert(NamedTuple):
    """A halt that starts."""

    scope: Scope
    reason: Reason
    value: float  # fraction lost, losses in a row, or bars
    cause: int = -1

    @property
    def cancels(self) -> Reason:
        """Why the pending entries in scope end."""
        return Reason.COOLDOWN if self.reason == Reason.COOLDOWN else Reason.HALTED


class Trade(NamedTuple):
    """One (symbol, strategy) from flat to flat."""

    symbol: str
    strategy: str
    profit: int
    seq: int  # of the POSITION record that ended it


class StopFill(NamedTuple):
    """A stop that filled."""

    symbol: str
    strategy: str
    ts: int
    seq: int


class History(NamedTuple):
    """What the records of a run so far say: closed trades, stops that filled, and money earned by (symbol, strategy)."""

    trades: list[Trade]
    stops: list[StopFill]
    earned: dict[tuple[str, str], int]


def history(account: Account) -> History:
    """Read all records from the first on."""
    found = History([], [], {})
    running: dict[tuple[str, str], int] = {}
    symbols, strategies = sorted(account.markets), sorted(one.id for one in account.settings.strategies)
    for seq, record in enumerate(account.records):
        money = {
            RecordKind.FILL: -record["fee"],
            RecordKind.POSITION: record["amount"],
            RecordKind.FUNDING: record["amount"],
            RecordKind.DIVIDEND: record["amount"],
            RecordKind.INSURANCE: record["amount"],
            RecordKind.INTEREST: record["amount"],
            RecordKind.SETTLEMENT: record["amount"],
        }.get(record["kind"])
        if money is None or record["symbol"] == NONE:  # what the account pays on its debt is no part's
            continue
        key = (symbols[record["symbol"]], strategies[record["strategy"]])
        found.earned[key] = found.earned.get(key, 0) + money
        if record["kind"] != RecordKind.INSURANCE:  # it comes after its trade, and takes back a part of its loss
            running[key] = running.get(key, 0) + money
        if record["kind"] == RecordKind.FILL and record["reason"] in STOPS:
            found.stops.append(StopFill(*key, record["ts"], seq))
        if record["kind"] == RecordKind.POSITION and record["qty"] == 0:
            found.trades.append(Trade(*key, running.pop(key), seq))
    return found


class Watch:
    """One scope: day's base, peak, and until when its entries are refused."""

    def __init__(self, scope: Scope, limits: HaltLimits, capital: int) -> None:
        self.scope = scope
        self.limits = limits
        self.capital = capital
        self.base = self.peak = self.last = capital
        self.day_end: int | None = None
        self.daily_until: int | None = None
        self.drawdown_until: int | None = None  # not None: halted
        self.losses_until: int | None = None
        self.seen = 0  # records that the sample before had seen
        self.stops: list[StopFill] = []  # that a sample has seen

    def whole(self, money: int) -> int:
        """What a loss is a fraction of: of the portfolio, what it fell from; of a part, its capital."""
        return money if self.scope == Scope() else self.capital

    def refuses(self, ts: int) -> bool:
        """Whether a halt is under way."""
        return any(until is not None and ts < until for until in (self.daily_until, self.drawdown_until, self.losses_until))

    def cools(self, account: Account) -> bool:
        """Whether fewer bars of a stopped symbol have closed since than the cool-down has."""
        return any(
            sum(stop.ts < ts <= account.now for ts in account.markets[stop.symbol].closes) < self.limits.cooldown_bars
            for stop in self.stops
        )

    def sample(self, account: Account, past: History) -> Iterator[Alert]:
        """Take one sample and say which halts it starts."""
        money = self.money(account, past)
        yield from self._daily_loss(account.now, money)
        yield from self._drawdown(account.now, money)
        yield from self._losses(account.now, past)
        yield from self._cooldown(past)
        self.last, self.seen = money, len(account.records)

    def money(self, account: Account, past: History) -> int:
        """Equity of the portfolio; of a part its capital and what it has earned, open profit included."""
        if self.scope == Scope():
            return account.equity()
        earned = sum(money for key, money in past.earned.items() if self.scope.holds(*key))
        held = [position for key, position in account.positions.items() if self.scope.holds(*key)]
        return self.capital + earned + sum(one.unrealised(account.markets[one.key[0]].mark) for one in held)

    def _daily_loss(self, ts: int, money: int) -> Iterator[Alert]:
        day_end = -(-ts // DAY_US) * DAY_US  # a close at midnight belongs to the day that ends
        if self.day_end is not None and day_end > self.day_end:
            self.base = self.last
        self.day_end = day_end
        limit, lost = self.limits.daily_loss, self.base - money
        if self.daily_until != day_end and math.isfinite(limit) and lost >= limit * self.whole(self.base):
            self.daily_until = day_end
            yield Alert(self.scope, Reason.DAILY_LOSS, lost / self.whole(self.base))

    def _drawdown(self, ts: int, money: int) -> Iterator[Alert]:
        if self.drawdown_until is not None:
            if ts < self.drawdown_until:
                return
            self.drawdown_until, self.peak = None, money
        self.peak = max(self.peak, money)
        limit, lost = self.limits.drawdown, self.peak - money
        if math.isfinite(limit) and lost >= limit * self.whole(self.peak):
            alert = Alert(self.scope, Reason.DRAWDOWN, lost / self.whole(self.peak))
            self.drawdown_until = min(NEVER, ts + self.limits.resume_after_us)
            if self.drawdown_until == ts:  # this sample is the first at its end
                self.drawdown_until, self.peak = None, money
            yield alert

    def _losses(self, ts: int, past: History) -> Iterator[Alert]:
        """Losing trades in a row; the count starts anew after each that completes it."""
        streak, breach = 0, None
        for trade in past.trades:
            if self.limits.losses and self.scope.holds(trade.symbol, trade.strategy):
                streak = streak + 1 if trade.profit < 0 else 0
                if streak == self.limits.losses:
                    streak, breach = 0, trade
        if breach is not None and breach.seq >= self.seen:
            self.losses_until = min(NEVER, ts + self.limits.losses_for_us)
            yield Alert(self.scope, Reason.CONSECUTIVE_LOSSES, float(self.limits.losses), breach.seq)

    def _cooldown(self, past: History) -> Iterator[Alert]:
        if not self.limits.cooldown_bars:
            return
        found = [stop for stop in past.stops if self.scope.holds(stop.symbol, stop.strategy)]
        if found and found[-1].seq >= self.seen:
            self.stops = found
            yield Alert(self.scope, Reason.COOLDOWN, float(self.limits.cooldown_bars), found[-1].seq)


class Halts:
    """All scopes of a run: the portfolio, then strategies, then symbols."""

    def __init__(self, account: Account) -> None:
        settings = account.settings
        self.account = account
        self.watches = [Watch(Scope(), settings.halts, settings.cash)]
        for one in sorted(settings.strategies, key=lambda strategy: strategy.id):
            self.watches.append(Watch(Scope(strategy=one.id), settings.strategy_halts, round(settings.cash * one.budget)))
        for symbol in sorted(account.markets):
            self.watches.append(Watch(Scope(symbol=symbol), settings.symbol_halts, settings.cash))

    def refuses(self, symbol: str, strategy: str) -> bool:
        """Whether entries of a (symbol, strategy) are refused now."""
        return any(watch.refuses(self.account.now) for watch in self.watches if watch.scope.holds(symbol, strategy))

    def cools(self, symbol: str, strategy: str) -> bool:
        """Whether a stop still cools down."""
        return any(watch.cools(self.account) for watch in self.watches if watch.scope.holds(symbol, strategy))

    def sample(self) -> None:
        """Sample every scope; each alert cancels the pending entries in its scope."""
        past = history(self.account)
        for watch in self.watches:
            for alert in watch.sample(self.account, past):
                self._raise(alert)

    def _raise(self, alert: Alert) -> None:
        account, scope = self.account, alert.scope
        place: dict[str, Any] = {}
        if scope.strategy is not None:
            place["strategy"] = sorted(one.id for one in account.settings.strategies).index(scope.strategy)
        if scope.symbol is not None:
            place["symbol"] = sorted(account.markets).index(scope.symbol)
        seq = account.write(
            RecordKind.RISK_ALERT, reason=alert.reason, amount=account.equity(), value=alert.value, cause=alert.cause, **place
        )
        for entry in [one for one in account.entries if scope.holds(*one.proposal.key)]:
            account.cancel_entry(entry, alert.cancels, seq)
