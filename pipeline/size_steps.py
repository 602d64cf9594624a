"""How an entry got its size: the size model, the limits of the gate, and which of them cut it.  # R5.1, R5.2"""

import math
from dataclasses import dataclass, field
from typing import Any

from engine.models import ModelKind
from engine.round_trips import Row
from engine.schema import MORE, NONE, Action, LevelKind, MarginMode, Reason, RecordKind, SizeKind
from engine.settings import StrategySettings
from pipeline.bar_lookup import Market, most_lots
from pipeline.own_size import own_size
from pipeline.result import Result
from pipeline.summary import money_in
from pipeline.wording import number


@dataclass(frozen=True)
class Standing:
    """The account just before an approval: cash, positions and pending entries."""

    equity: int
    free: int  # with what the position that leaves for the entry frees
    gross: int
    net: int
    group: int  # gross of its group
    strategy: int  # gross of its strategy
    added_to: int  # value of the position that it adds to
    taker_bps: float


@dataclass
class _Held:
    """Lots, cost and margin of a position."""

    lots: int = 0
    cost: int = 0
    margin: int = 0
    booked: int = 0  # time of its last record


@dataclass
class _Waits:
    """What a pending entry still lays claim to."""

    slot: tuple[int, int]
    side: int
    lots: int
    value: int
    reserved: int


def _hold(market: Market, held: _Held, row: Row) -> None:
    """Let a fill open, add to or close a position.  # R6.3, R6.4"""
    symbol, signed, held.booked = row["symbol"], row["side"] * row["qty"], row["ts"]
    if held.lots * signed >= 0:
        notional = market.notional(symbol, signed, row["price"], row["ts"])
        held.cost += notional if market.is_spot(symbol) else market.value(symbol, signed, row["price"])
        held.margin += round(abs(notional) / market.leverage(symbol))
    else:
        part = abs(signed) / abs(held.lots)
        whole = signed == -held.lots
        held.cost -= held.cost if whole else round(held.cost * part)
        held.margin -= held.margin if whole else round(held.margin * part)
    held.lots += signed


def _carry(market: Market, held: _Held, row: Row) -> None:
    """What befalls a position besides fills.  # R6.2, R8.1"""
    if row["kind"] == RecordKind.SETTLEMENT:
        held.cost, held.booked = market.value(row["symbol"], held.lots, row["price"]), row["ts"]
    elif row["kind"] == RecordKind.CASH_IN_LIEU:
        _release_rest(held, row)
    elif row["order_id"] == NONE:
        held.lots, held.booked = row["position"], row["ts"]


def _release_rest(held: _Held, row: Row) -> None:
    """Let what a split left of a lot go, with its cost and its margin.  # R8.1"""
    part = row["qty"] / (abs(held.lots) * row["value"] + row["qty"])
    held.cost -= round(held.cost * part) if held.lots else held.cost
    held.margin -= round(held.margin * part) if held.lots else held.margin


@dataclass
class Size:
    """Steps of a size; quantities in units of the instrument, money units for amounts."""

    model: str
    equity: int
    formula: str = ""
    wanted: float = math.nan
    limits: list[tuple[str, int, float]] = field(default_factory=list)
    approved: float = math.nan
    cut_by: str = ""

    def as_dict(self, scale: int) -> dict[str, Any]:
        """Plain values; amounts in account currency."""
        return {
            "model": self.model,
            "equity": self.equity / scale,
            "formula": self.formula,
            "wanted": None if math.isnan(self.wanted) else self.wanted,
            "limits": [{"limit": name, "amount": units / scale, "quantity": quantity} for name, units, quantity in self.limits],
            "approved": self.approved,
            "cut_by": self.cut_by or None,
        }


def size_steps(result: Result, rows: list[Row], approved: int) -> Size:
    """Work out the size of an APPROVED record again."""
    replay, row = result.replay, rows[approved]
    market = Market(replay.tape, replay.proposals, replay.settings)
    before = standing(market, rows, approved)
    desk = next(one for one in replay.settings.strategies if one.id == replay.strategies[row["strategy"]])
    own, aimed = replay.settings.model(ModelKind.SIZE), market.proposals.action[row["proposal"]] == Action.TARGET
    named = _named(desk) if own is None else f"your own model {own.name}"
    size = Size("target" if aimed else named, before.equity)
    lot = float(market.instrument(row["symbol"]).base_lot)
    size.approved = row["qty"] * lot
    if aimed:
        size.formula, size.wanted = _missing(market, row, desk, before)
    elif own is None:
        size.formula, size.wanted = _wanted(market, row, desk, before)
    else:
        stop = stop_asked(market, row["proposal"], row["price"], row["side"])
        size.formula, size.wanted = own_size(own, market, rows, approved, desk, before.equity, before.free, stop)
    _limit(market, row, before, size, lot)
    return size


def standing(market: Market, rows: list[Row], approved: int) -> Standing:
    """The account as the gate saw it, from the records and the marks."""
    held, pending = _folded(market, rows[:approved])
    mine = rows[approved]
    now, own = mine["ts"], (mine["symbol"], mine["strategy"])
    leaving = _leaving(rows, approved, held)
    gone = {leaving} | {waits.slot for waits in pending.values() if waits.slot in held and held[waits.slot].lots * waits.side < 0}
    counted, profit, locked, added_to = [(waits.slot, waits.side * waits.value) for waits in pending.values()], 0, 0, 0
    gained = 0
    for slot, one in held.items():
        symbol, spot = slot[0], market.is_spot(slot[0])
        mark, valued = market.mark(symbol, now), max(one.booked, int(market.tape.ts[market.last_row(symbol, now)]))
        at_mark = market.value(symbol, one.lots, mark)
        if slot not in gone:
            counted.append((slot, market.notional(symbol, one.lots, mark, valued if spot else now)))
            added_to = abs(counted[-1][1]) if slot == own else added_to
        if spot:
            at_mark = market.in_account(symbol, at_mark, valued)
        gained += at_mark if spot else market.in_account(symbol, at_mark - one.cost, valued)
        if not spot or one.lots < 0:
            if slot == leaving or spot or market.settings.margin != MarginMode.ISOLATED:
                profit += at_mark - one.cost if spot else market.in_account(symbol, at_mark - one.cost, valued)
            locked += (0 if slot == leaving else one.margin) + (abs(one.cost) if spot else 0)
        elif slot == leaving:
            profit += at_mark
    group = market.instrument(mine["symbol"]).group
    return Standing(
        equity=mine["cash"] + gained,
        free=mine["cash"] + profit - locked - sum(waits.reserved for waits in pending.values()),
        gross=sum(abs(worth) for _, worth in counted),
        net=sum(worth for _, worth in counted),
        group=sum(abs(worth) for slot, worth in counted if group and market.instrument(slot[0]).group == group),
        strategy=sum(abs(worth) for slot, worth in counted if slot[1] == mine["strategy"]),
        added_to=added_to,
        taker_bps=market.taker_bps(rows[:approved], now),
    )


def _folded(market: Market, rows: list[Row]) -> tuple[dict[tuple[int, int], _Held], dict[int, _Waits]]:
    """Positions by slot and pending entries by proposal, after some records."""
    held, pending = dict[tuple[int, int], _Held](), dict[int, _Waits]()
    for row in rows:
        slot = row["symbol"], row["strategy"]
        if row["kind"] == RecordKind.SPLIT and row["order_id"] != NONE and row["proposal"] in pending:
            pending[row["proposal"]].lots = row["qty"]
        elif slot in held and row["kind"] in (RecordKind.SPLIT, RecordKind.CASH_IN_LIEU, RecordKind.SETTLEMENT):
            _carry(market, held[slot], row)
        elif row["kind"] == RecordKind.APPROVED:
            worth = market.notional(row["symbol"], row["qty"], row["price"], row["ts"])
            pending[row["proposal"]] = _Waits(slot, row["side"], row["qty"], worth, row["amount"])
        elif row["kind"] == RecordKind.CANCELLED:
            pending.pop(row["proposal"], None)
        elif row["kind"] == RecordKind.FILL:
            if row["reason"] != Reason.REVERSED:
                _fill_some(pending, row)
            _hold(market, held.setdefault(slot, _Held()), row)
    return held, pending


def _fill_some(pending: dict[int, _Waits], row: Row) -> None:
    """Let a fill take its part of what an entry reserves.  # R2.6"""
    waits = pending.get(row["proposal"])
    if waits is None:
        return
    if not row["flags"] & MORE:
        del pending[row["proposal"]]
        return
    part = row["qty"] / waits.lots
    waits.reserved -= round(waits.reserved * part)
    waits.value -= round(waits.value * part)
    waits.lots -= row["qty"]


def _leaving(rows: list[Row], approved: int, held: dict[tuple[int, int], _Held]) -> tuple[int, int] | None:
    """The position that makes room for an entry: the one it reverses, or the one it rotates out.  # R4.2, R4.3"""
    mine = rows[approved]
    own = mine["symbol"], mine["strategy"]
    if own in held and held[own].lots:
        return own if held[own].lots * mine["side"] < 0 else None
    for row in rows[approved + 1 :]:
        if row["ts"] != mine["ts"]:
            break
        if row["kind"] == RecordKind.ORDER and row["reason"] == Reason.ROTATED and row["cause"] == approved:
            return row["symbol"], row["strategy"]
    return None


def _named(desk: StrategySettings) -> str:
    return "all_in" if desk.size == SizeKind.ALL_IN else f"{desk.size.name.lower()} {number(desk.amount)}"


def _missing(market: Market, row: Row, desk: StrategySettings, before: Standing) -> tuple[str, float]:
    """What a target wants beyond what is held on its side."""
    weight, lot = float(market.proposals.weight[row["proposal"]]), market.instrument(row["symbol"]).base_lot
    per, each = _unit(market, row)
    wanted = abs(before.equity / market.settings.scale * desk.budget * weight / each)
    held = max(0, row["side"] * row["position"]) * lot.units / lot.power
    less = f", less {number(held)} held" if held else ""
    return f"{_capital_text(market, before, desk)} x weight {number(abs(weight))} / {per}{less} = {number(wanted - held, 7)}", wanted - held


def _capital_text(market: Market, before: Standing, desk: StrategySettings) -> str:
    money = money_in(market.settings.decimals)
    return f"equity {money(before.equity / market.settings.scale)}" + (f" x budget {number(desk.budget)}" if desk.budget != 1.0 else "")


def _unit(market: Market, row: Row) -> tuple[str, float]:
    """What one unit of quantity stands for at the reference, in account currency, and how it comes about."""
    reference, multiplier = row["price"], float(market.instrument(row["symbol"]).multiplier)
    if market.is_inverse(row["symbol"]):
        return f"({number(multiplier)} / {number(reference)})", multiplier / reference
    per, each = number(reference) + (f" x multiplier {number(multiplier)}" if multiplier != 1.0 else ""), reference * multiplier
    rate = market.rate(row["symbol"], row["ts"])
    if rate != 1.0:
        per, each = f"({per} x {number(rate, 7)} for the currency of its prices)", each * rate
    return per, each


def _wanted(market: Market, row: Row, desk: StrategySettings, before: Standing) -> tuple[str, float]:
    kind, amount, budget = desk.size, desk.amount, desk.budget
    scale, money = market.settings.scale, money_in(market.settings.decimals)
    reference, multiplier = row["price"], float(market.instrument(row["symbol"]).multiplier)
    capital = before.equity / scale * budget
    own, (per, each) = _capital_text(market, before, desk), _unit(market, row)
    inverse, rate = market.is_inverse(row["symbol"]), market.rate(row["symbol"], row["ts"])
    if kind == SizeKind.FIXED_QTY:
        return "a fixed quantity", amount
    if kind == SizeKind.FIXED_NOTIONAL:
        wanted = amount / each
        return f"{money(amount)} / {per} = {number(wanted, 7)}", wanted
    if kind == SizeKind.FIXED_FRACTION:
        wanted = capital * amount / each
        return f"{own} x {number(amount)} / {per} = {number(wanted, 7)}", wanted
    if kind == SizeKind.FIXED_RISK:
        stop = stop_asked(market, row["proposal"], reference, row["side"])
        distance = abs(1.0 / stop - 1.0 / reference) if inverse else row["side"] * (reference - stop)
        wanted = capital * amount / (distance * multiplier * rate)
        at_risk = f"{money(capital * amount)} at risk ({number(amount)} x {own})"
        lost = f"{number(distance * multiplier * rate, 6)} a unit" if inverse or rate != 1.0 else f"{number(distance, 6)}"
        return f"{at_risk} / {lost} to the stop at {number(stop, 7)} = {number(wanted, 7)}", wanted
    if kind == SizeKind.ALL_IN:
        buffer = round(before.equity * market.settings.cash_buffer)
        limit = min(round((before.free - buffer) * amount), round(before.equity * budget))
        half, symbol, lot = market.reservation_half(row["symbol"], row["ts"]), row["symbol"], market.instrument(row["symbol"]).base_lot
        lots = most_lots(
            lambda n: market.claim(symbol, row["side"], n, reference, half, before.taker_bps, row["ts"]) <= limit, 2 * row["qty"] + 1
        )
        lots -= lots % market.lot_step(symbol, row["ts"])
        spare = f"free cash {money(before.free / scale)}" + (f" less the cash buffer {money(buffer / scale)}" if buffer else "")
        spare += f" x {number(amount)}" if amount != 1.0 else ""
        wanted = lots * float(lot)
        return f"the most that reserves no more than {money(limit / scale)}, the smaller of {own} and {spare} = {number(wanted)}", wanted
    share, told = own_share(market, row["proposal"], desk)
    wanted = capital * share / each
    return f"{own} x {told} / {per} = {number(wanted, 7)}", wanted


def own_share(market: Market, proposal: int, desk: StrategySettings) -> tuple[float, str]:
    """Share of capital that a proposal's own columns ask for, and how it comes about.  # R5.1"""
    table, amount = market.proposals, desk.amount
    if desk.size == SizeKind.VOL_TARGET:
        volatility = float(table.volatility[proposal])
        return amount / volatility, f"({number(amount)} / volatility {number(volatility)})"
    if desk.size == SizeKind.TARGET_WEIGHT:
        weight = float(table.weight[proposal])
        return amount * weight, f"({number(amount)} x weight {number(weight)})"
    chance, payoff = float(table.win_probability[proposal]), float(table.payoff[proposal])
    bet = f"{number(amount)} x ({number(chance)} - {number(1.0 - chance)} / {number(payoff)})"
    return min(amount * (chance - (1.0 - chance) / payoff), desk.cap), f"(the smaller of {bet} and the cap {number(desk.cap)})"


def stop_asked(market: Market, proposal: int, reference: float, side: int) -> float:
    """The stop a proposal asks for, before the tick; NaN without one."""
    table = market.proposals
    stop = float(table.stop_loss[proposal])
    if table.stop_loss_kind[proposal] != LevelKind.FRACTION:
        stop = market.restated(int(table.symbol[proposal]), stop, int(table.ts[proposal]), int(table.available_ts[proposal]))
    return reference * (1.0 - side * stop) if table.stop_loss_kind[proposal] == LevelKind.FRACTION else stop


def _limit(market: Market, row: Row, before: Standing, size: Size, lot: float) -> None:
    """The most that each limit of the gate leaves, and the one that cut the size."""
    settings, symbol, side, reference = market.settings, row["symbol"], row["side"], row["price"]
    half = market.reservation_half(symbol, row["ts"])
    wanted = row["qty"] * 1_000 + 1_000 if math.isnan(size.wanted) else math.floor(size.wanted / lot + 1e-6)

    step = market.lot_step(symbol, row["ts"])
    wanted -= wanted % step

    def claimed(limit: int) -> int:
        def fits(n: int) -> bool:
            return market.claim(symbol, side, n * step, reference, half, before.taker_bps, row["ts"]) <= limit

        return step * most_lots(fits, wanted // step)

    def worth(limit: int) -> int:
        return step * most_lots(lambda n: market.notional(symbol, n * step, reference, row["ts"]) <= limit, wanted // step)

    found = []
    if settings.cash_buffer > 0:
        limit = before.free - round(before.equity * settings.cash_buffer)
        found.append((f"cash_buffer {number(settings.cash_buffer)}", limit, claimed(limit)))
    for name, fraction, used in (
        ("max_position", settings.max_position, before.added_to),
        ("max_gross", settings.max_gross, before.gross),
        ("max_net", settings.max_net, side * before.net),
        ("max_group", settings.max_group if market.instrument(symbol).group else math.inf, before.group),
        ("max_strategy", settings.max_strategy, before.strategy),
    ):
        if fraction < math.inf:
            limit = round(before.equity * fraction) - used
            found.append((f"{name} {number(fraction)}", limit, worth(limit)))
    found.append(("free cash", before.free, claimed(before.free)))
    size.limits = [(name, limit, lots * lot) for name, limit, lots in found]
    cutting = [name for name, _, lots in found if lots == row["qty"] and lots < wanted]
    if cutting and not math.isnan(size.wanted):
        size.cut_by = cutting[0]
    elif row["qty"] < wanted and not math.isnan(size.wanted):
        size.cut_by = "a limit that is not worked out here"
