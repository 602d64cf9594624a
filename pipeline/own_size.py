"""The user's own size model, asked again: what the gate told it follows from the ledger and the proposals.  # R2.8"""

import math

from engine.model_call import answer, event_key, name_key
from engine.models import Model, Selected
from engine.round_trips import Row
from engine.schema import NONE
from engine.settings import StrategySettings
from pipeline.bar_lookup import Market
from pipeline.summary import money_in
from pipeline.wording import number


def own_size(
    own: Model, market: Market, rows: list[Row], approved: int, desk: StrategySettings, equity: int, free: int, stop: float
) -> tuple[str, float]:
    """The most telling of what the model was told about an approved entry, and the quantity that it asks for.

    Parameters
    ----------
    equity, free
        Money units, as the gate saw them.
    stop
        The stop that the proposal asks for; NaN without one.
    """
    row, table, scale = rows[approved], market.proposals, market.settings.scale
    symbol, strategy, reference = row["symbol"], row["strategy"], row["price"]
    held = {(one["symbol"], one["strategy"]): one["position"] for one in rows[:approved] if one["symbol"] != NONE}
    lot = market.instrument(symbol).base_lot
    columns = {name: getattr(table, name) for name in ("weight", "volatility", "win_probability", "payoff")}
    rate, multiplier, inverse = market.rate(symbol, row["ts"]), float(market.instrument(symbol).multiplier), market.is_inverse(symbol)
    distance = row["side"] * (reference - stop) if 0.0 < stop < math.inf else math.nan
    lost = abs(1.0 / stop - 1.0 / reference) if inverse and distance > 0.0 else distance
    entry = Selected(
        capital=equity / scale * desk.budget,
        free_cash=free / scale,
        reference=reference,
        distance=distance,
        worth=multiplier / reference if inverse else reference * multiplier * rate,
        loss=lost * multiplier * rate if distance > 0.0 else math.nan,
        side=float(row["side"]),
        score=float(table.score[row["proposal"]]),
        amount=desk.amount,
        **{name: float(column[row["proposal"]]) if len(column) else math.nan for name, column in columns.items()},
        held=row["position"] * lot.units / lot.power,
        positions=float(sum(lots != 0 for lots in held.values())),
        rank=float(rows[row["cause"]]["rank"]),
        ts=row["ts"],
        symbol=symbol,
        strategy=strategy,
        key=event_key(
            event_key(market.settings.seed, int(own.kind), 0, 0), row["ts"], name_key(market.instrument(symbol).symbol), name_key(desk.id)
        ),
    )
    wanted = float(answer(own.address, entry))
    money = money_in(market.settings.decimals)
    told = f"capital {money(entry.capital)}, free cash {money(entry.free_cash)}, reference {number(reference)}"
    told += "" if math.isnan(entry.distance) else f", distance {number(entry.distance, 6)} to the stop"
    return f"asked with {told}, and more: {number(wanted, 7)}", wanted
