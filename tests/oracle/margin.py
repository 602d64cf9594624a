"""Maintenance margin, the liquidation price, and who is liquidated at it.  # R7.2 R7.3"""

from typing import NamedTuple

from engine.instrument import MarginTier
from engine.schema import AMBIGUOUS, MaintenanceBasis, MaintenanceFee, MarginMode, Reason, RecordKind
from tests.oracle.account import Account, Position
from tests.oracle.brackets import Exit, acting, adverse_first, raised_inside, ranged_stop, touched
from tests.oracle.contract import Contract
from tests.oracle.events import Bar
from tests.oracle.fills import close_lots


class Stake(NamedTuple):
    """What is liquidated as one: an isolated position, or a symbol's net quantity under cross margin."""

    contract: Contract
    lots: int  # signed
    cost: int  # signed

    def notional(self, mark: float) -> int:
        return abs(self.contract.notional(self.lots, mark))

    @property
    def rate(self) -> float:
        """Account money for quote money."""
        return self.contract.rate or 1.0

    @property
    def side(self) -> int:
        return 1 if self.lots > 0 else -1

    @property
    def paid(self) -> float:
        """Cost as an amount of account money: positive, unless parts of both sides made a profit."""
        signed = -self.cost if self.contract.inverse else self.cost
        return self.side * signed / self.contract.settings.scale * self.rate


def stake_of(account: Account, position: Position) -> Stake:
    """The stake that a position is part of."""
    if account.settings.margin == MarginMode.ISOLATED:
        return Stake(position.contract, position.lots, position.cost)
    parts = account.in_order(position.key[0])
    return Stake(position.contract, sum(part.lots for part in parts), sum(part.cost for part in parts))


def stakes(account: Account) -> list[tuple[str, Stake]]:
    """Every stake of the account, by symbol."""
    if account.settings.margin == MarginMode.ISOLATED:
        return [(position.key[0], stake_of(account, position)) for position in account.in_order()]
    firsts = {position.key[0]: position for position in reversed(account.in_order())}
    return [(symbol, stake_of(account, position)) for symbol, position in firsts.items()]


def tier_of(tiers: tuple[MarginTier, ...], notional: float) -> MarginTier:
    """The tier that holds a notional."""
    return [tier for tier in tiers if tier.floor <= notional or tier is tiers[0]][-1]


def taker(account: Account) -> float:
    """Taker fee that maintenance holds."""
    held = account.settings.maintenance_fee == MaintenanceFee.TAKER_AT_BANKRUPTCY
    return max(account.fee_bps(maker=False) / 10000, 0.0) if held else 0.0


def maintenance(account: Account, symbol: str, stake: Stake) -> int:
    """Maintenance margin of a stake at the last mark; none where it has no tiers.  # R7.2"""
    tiers, scale = stake.contract.tiers, account.settings.scale
    if not tiers:
        return 0
    by_entry = account.settings.maintenance_basis == MaintenanceBasis.ENTRY
    notional = (abs(stake.contract.in_account(stake.cost)) if by_entry else stake.notional(account.markets[symbol].mark)) / scale
    tier = tier_of(tiers, notional)
    rate = tier.rate if by_entry else tier.rate + taker(account)
    return max(0, round((notional * rate - tier.deduction) * scale))


def total_maintenance(account: Account) -> int:
    """Of all stakes."""
    return sum(maintenance(account, symbol, stake) for symbol, stake in stakes(account))


def heaviest(account: Account) -> Position:
    """The position whose stake has the largest maintenance; of equals the first.  # R7.4"""
    return min(account.in_order(), key=lambda position: (-maintenance(account, position.key[0], stake_of(account, position)), position.key))


def liquidation_price(account: Account, position: Position) -> float | None:
    """Mark price at which the position's stake no longer covers its maintenance; None: never.  # R7.3"""
    stake = stake_of(account, position)
    contract, scale = stake.contract, account.settings.scale
    if not contract.tiers or stake.lots * position.side <= 0:
        return None
    if account.settings.margin == MarginMode.ISOLATED:
        secured = position.margin
    else:
        symbol = position.key[0]
        mark = account.markets[symbol].mark
        own = sum(part.unrealised(mark) for part in account.in_order(symbol))
        others = sum(maintenance(account, name, other) for name, other in stakes(account) if name != symbol)
        secured = account.equity() - own - others
    units = abs(contract.quantity(stake.lots)) * contract.multiplier * stake.rate
    by_entry = account.settings.maintenance_basis == MaintenanceBasis.ENTRY
    linear, inverse = (_by_entry, _inverse_by_entry) if by_entry else (_by_mark, _inverse_by_mark)
    formula = inverse if contract.inverse else linear
    price = formula(contract.tiers, stake.side, units, stake.paid, secured / scale, taker(account))
    return price if price > 0 else None


def _by_mark(tiers: tuple[MarginTier, ...], side: int, units: float, cost: float, margin: float, fee: float) -> float:
    """The highest tier whose own price puts the notional at its floor or above; else the lowest."""
    price = 0.0
    for tier in reversed(tiers):
        price = (cost - side * (margin + tier.deduction)) / (units * (1 - side * (tier.rate + fee)))
        if units * price >= tier.floor:
            return price
    return price


def _by_entry(tiers: tuple[MarginTier, ...], side: int, units: float, cost: float, margin: float, fee: float) -> float:
    tier = tier_of(tiers, cost)
    closing = fee * max((cost - side * margin) / (1 - side * fee), 0.0)
    return (cost - side * (margin - (cost * tier.rate - tier.deduction) - closing)) / units


def _inverse_by_mark(tiers: tuple[MarginTier, ...], side: int, units: float, coins: float, margin: float, fee: float) -> float:
    """The same of an inverse contract, in coin: a short of less than its own coins and margin is never liquidated."""
    price = 0.0
    for tier in reversed(tiers):
        secured = coins + side * (margin + tier.deduction)
        price = units * (1 + side * (tier.rate + fee)) / secured if secured > 0 else 0.0
        if secured > 0 and units / price >= tier.floor:
            return price
    return price


def _inverse_by_entry(tiers: tuple[MarginTier, ...], side: int, units: float, coins: float, margin: float, fee: float) -> float:
    tier = tier_of(tiers, coins)
    closing = fee * max((coins + side * margin) / (1 + side * fee), 0.0)
    secured = coins + side * (margin - (coins * tier.rate - tier.deduction) - closing)
    return units / secured if secured > 0 else 0.0


def passed_by_mark(position: Position, bar: Bar, price: float | None) -> bool:
    """Whether the open of the mark candle is at or beyond the liquidation price."""
    return price is not None and position.side * (bar.mark_open - price) <= 0


def exit_inside(account: Account, position: Position, bar: Bar) -> Exit | None:
    """The exit that a bar reaches, liquidation among them.  # R3.3 R7.3"""
    settings, side = account.settings, position.side
    found, price = touched(position, bar, settings), liquidation_price(account, position)
    if price is None:
        return found
    worst = bar.mark_low if side > 0 else bar.mark_high
    if side * (worst - price) > 0:
        return found
    candle = bar.side(-side)
    liquidated = Exit(min(max(price, candle.low), candle.high), Reason.LIQUIDATED, maker=False)
    if found is None or passed_by_mark(position, bar, price):
        return liquidated
    if not found.maker or found.ambiguous:  # the stop is reached
        stop = raised_inside(position, bar, ranged_stop(position, bar, settings), settings)
        assert stop is not None
        if side * (stop.level - price) > 0:
            return found
    if not (found.maker or found.ambiguous):  # the target is not
        return liquidated
    if adverse_first(side, candle.close > candle.open, settings.intrabar):
        return liquidated._replace(ambiguous=True)
    target = acting(position.targets, bar)
    assert target is not None
    return Exit(target, Reason.TAKE_PROFIT, maker=True, ambiguous=True)


def liquidate(account: Account, position: Position, bar: Bar, price: float, *, ambiguous: bool = False) -> None:
    """Close the position, or under cross margin every strategy's part of its symbol, at one price.  # R7.3"""
    at = position.contract.on_tick(price, bar.open_ts, up=position.side < 0)
    isolated = account.settings.margin == MarginMode.ISOLATED
    for part in [position] if isolated else account.in_order(position.key[0]):
        account.tell_rate(part.key)
        before, secured, seq = account.cash, part.margin, len(account.records)
        close_lots(account, part, abs(part.lots), at, account.fee_bps(maker=False), Reason.LIQUIDATED, flags=AMBIGUOUS if ambiguous else 0)
        beyond = before - account.cash - secured
        if isolated and beyond > 0:
            account.pay(part.key[0], beyond)
            account.write(RecordKind.INSURANCE, part.key, order_id=part.order_id, amount=beyond, cause=seq)
