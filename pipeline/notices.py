"""What a reader of a result must know before believing it: every optimistic choice, every doubt about the data."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.models import ModelKind
from engine.schema import DAY_US, Accounting, RecordKind, Slippage
from engine.settings import Settings
from engine.splits import SPLIT
from pipeline.build import iso, lot_quantities
from pipeline.data_remarks import looks_adjusted

if TYPE_CHECKING:
    from pipeline.result import Result

LARGE_SHARE = 0.01
OFF_TICK, OFF_SHARE = 1e-3, 0.01  # ticks from the nearest; share of closes
TAKERS = (ModelKind.SLIPPAGE, ModelKind.FILL)
"""Models of the user's that decide what a taker pays beyond the raw price."""
Test = Callable[["Result"], str]

FUNDING_HOLE_US = 2 * DAY_US
MOST_NAMED = 8  # in a notice


def notices(result: "Result") -> list[str]:
    """All notices of a run, one sentence each."""
    of_data: tuple[Test, ...] = (
        _simulated,
        _survivorship,
        _rules_of_today,
        _funding_holes,
        _unpaid_funding,
        _expired,
        _splits,
        _adjusted,
        _unquoted,
    )
    of_choices: tuple[Test, ...] = (
        _external,
        _streamed,
        _own_models,
        _optimistic,
        _bounds,
        _free_spread,
        _borrowed_free,
        _coarse_ticks,
        _budgets,
        _large_sizes,
        _ruin,
    )
    return [text for test in (*of_data, *of_choices) if (text := test(result))]


def _simulated(result: "Result") -> str:
    simulated = result.dataset.info.get("simulated")
    return f"simulated data: {result.dataset.info.get('source', 'a model')} is a model of a market, not a market" if simulated else ""


def _own_models(result: "Result") -> str:
    models = ", ".join(f"{model.kind.name.lower()} = {model.name}" for model in result.replay.settings.models)
    return f"models of your own, of which nothing but the form was checked: {models}" if models else ""


def _survivorship(result: "Result") -> str:
    tape, n = result.replay.tape, len(result.replay.symbols)
    if result.dataset.info.get("simulated") or not len(tape.grid):
        return ""
    gone = int(np.count_nonzero(tape.last_ts < tape.grid[-1]))
    if gone:
        return ""
    those = "the one symbol trades" if n == 1 else f"all {n} symbols trade"
    return f"survivorship: {those} to the end of the run; symbols that failed on the way are not in the data"


def _rules_of_today(result: "Result") -> str:
    if result.dataset.info.get("simulated") or all(one.rules for one in result.replay.settings.instruments):
        return ""
    return "one set of tick, lot and minimum sizes a symbol is applied to all of the past; exchanges change them"


def _borrowed_free(result: "Result") -> str:
    """Spot that was sold short over a midnight, without a rate for what was borrowed."""
    symbols = dict(enumerate(sorted(result.replay.settings.instruments, key=lambda one: one.symbol)))
    trades = result.trade_records
    ends = np.where(trades["open"] == 1, result.period[1], trades["exit_ts"])
    overnight = trades[(trades["side"] < 0) & (trades["entry_ts"] // DAY_US < ends // DAY_US)]
    free = [symbols[code] for code in np.unique(overnight["symbol"]).tolist() if symbols[code].accounting == Accounting.SPOT]
    names = [one.symbol for one in free if not one.borrow_rates]
    return f"shorts borrow for nothing: instruments.*.borrow has no rate for {', '.join(names[:8])}" if names else ""


def _large_sizes(result: "Result") -> str:
    """Fills above 1 % of the volume of the last bar that was closed before them."""
    share = shares_of_volume(result)
    if not len(share):
        return ""
    large = int(np.count_nonzero(share > LARGE_SHARE))
    if np.isnan(share).all():
        return "the data have no volume, so nothing says whether these sizes could have been traded"
    if not large:
        return ""
    impact = _impact(result.replay.settings)
    if result.config.execution.participation is not None:
        impact = f"execution.participation holds them to {result.config.execution.participation.share:.0%} of a bar; {impact}"
    return (
        f"{large} of {len(share)} fills are larger than 1 % of the volume of the bar before (the largest {np.nanmax(share):.1%}); {impact}"
    )


def _impact(settings: Settings) -> str:
    """What makes a larger order pay more."""
    own = [model for model in map(settings.model, TAKERS) if model is not None]
    if own:
        return "their impact is that of " + " and ".join(f"execution.models.{model.kind.name.lower()}" for model in own)
    return "no impact is modelled" if settings.slippage < Slippage.VOLUME_SHARE else "their impact is that of execution.slippage"


def shares_of_volume(result: "Result") -> NDArray[np.float64]:
    """Quantity of each fill over the volume of the last bar closed before it; NaN where that is not known."""
    fills = result.replay.records[result.replay.records["kind"] == RecordKind.FILL]
    volume = _volume_before(result, fills, result.dataset.columns["bars"]["volume"])
    return np.asarray(fills["qty"] * np.array(lot_quantities(result.replay.settings))[fills["symbol"]] / volume)


def _volume_before(result: "Result", fills: NDArray[Any], volume: NDArray[np.float64]) -> NDArray[np.float64]:
    tape, found = result.replay.tape, np.full(len(fills), np.nan)
    for symbol in np.unique(fills["symbol"]):
        mine = fills["symbol"] == symbol
        begin, end = int(tape.oldest[symbol]), int(tape.stop[symbol])
        rows = begin + np.searchsorted(tape.ts[begin:end], fills["ts"][mine], side="right") - 1
        found[mine] = np.where(rows >= begin, volume[np.maximum(rows, begin)], np.nan)
    return np.where(found > 0, found, np.nan)


def _optimistic(result: "Result") -> str:
    execution = result.config.execution
    chosen = []
    if execution.timing == "close":
        chosen.append("timing: close fills at the very price that was decided on")
    if execution.intrabar == "optimistic":
        chosen.append("intrabar: optimistic takes the best exit a bar allows")
    if execution.participation is not None and execution.participation.of == "current":
        chosen.append("participation: current lets a bar's own volume, not known before its close, say how much of it fills")
    if execution.trailing_mode == "intrabar":
        chosen.append("trailing_mode: intrabar lets a bar's best price move the stop before its worst price is seen")
    if _free_of_fees(result.replay.settings):
        chosen.append("no fees")
    return "optimistic: " + "; ".join(chosen) if chosen else ""


def _bounds(result: "Result") -> str:
    if result.bounds is None:
        return ""
    n = len(result.bounds.ambiguous_trades)
    return (
        f"bounds: {n} of {len(result.trade_records)} trades left in an ambiguous bar; for each the truth lies between the two columns, "
        "for the whole it need not, because what is traded afterwards differs"
    )


def _free_of_fees(settings: Settings) -> bool:
    if settings.model(ModelKind.FEE) is not None:
        return False
    rates = [(tier.maker_bps, tier.taker_bps) for tier in settings.fee_tiers] or [(settings.maker_bps, settings.taker_bps)]
    return not any((settings.per_unit, settings.flat, settings.min_fee, *(rate for pair in rates for rate in pair)))


def _free_spread(result: "Result") -> str:
    """Symbols that trade without any spread."""
    settings, tape = result.replay.settings, result.replay.tape
    own = any(settings.model(kind) is not None for kind in TAKERS)
    slipped = own or settings.default_spread_bps > 0 or settings.slippage_amount > 0
    if slipped or (len(tape.quoted) and tape.quoted.any()):
        return ""
    free = int(np.count_nonzero(tape.spread_first == tape.spread_stop))
    return (
        f"optimistic: {free} of {len(tape.specs)} symbols trade without spread or slippage (execution.spread.default_bps is 0)"
        if free
        else ""
    )


def _coarse_ticks(result: "Result") -> str:
    """Symbols whose closes lie between the ticks that their fills are put on."""
    tape, found = result.replay.tape, []
    for symbol, name in enumerate(result.replay.symbols):
        rows, rules = slice(tape.first[symbol], tape.stop[symbol]), slice(tape.rule_first[symbol], tape.rule_stop[symbol])
        in_force = np.searchsorted(tape.rule_ts[rules], tape.open_ts[rows], "right") - 1
        steps = tape.close[rows] / tape.rules["tick"][rules][in_force]
        between = np.count_nonzero(np.abs(steps - np.rint(steps)) > OFF_TICK)
        if len(steps) and tape.quoted.size == 0 and between > OFF_SHARE * len(steps):
            found.append(f"{name} ({between / len(steps):.0%} of closes)")
    return f"prices are finer than the tick, and fills are put on the tick against the order: {', '.join(found)}" if found else ""


def _funding_holes(result: "Result") -> str:
    """Funding that stops for days within the run: nothing is paid there."""
    found = []
    for symbol, name in enumerate(result.replay.symbols):
        tape = result.replay.tape
        ts = tape.funding_ts[tape.funding_first[symbol] : tape.funding_stop[symbol]]
        begin, end = int(tape.first[symbol]), int(tape.stop[symbol])
        if len(ts) and begin < end:
            run = ts[(ts >= tape.open_ts[begin]) & (ts <= tape.ts[end - 1])]
            longest = int(np.diff(np.concatenate((tape.open_ts[begin : begin + 1], run, tape.ts[end - 1 : end]))).max())
            if longest > FUNDING_HOLE_US:
                found.append(f"{name} {longest / DAY_US:.0f} days")
    return f"no funding is known, and none is paid, for a while: {', '.join(found)}" if found else ""


def _unpaid_funding(result: "Result") -> str:
    """Funding in the data of symbols that the run holds to be of a kind that has none."""
    (begin, end), found = result.period, []
    for one in sorted(result.replay.settings.instruments, key=lambda one: one.symbol):
        series = None if one.is_funded else result.dataset.find("funding", one.symbol)
        if series is not None:
            ts = result.dataset.view("funding", series)["ts"]
            found += [f"{one.symbol} ({one.kind})"] if ((ts >= begin) & (ts <= end)).any() else []
    if not found:
        return ""
    return f"funding is in the data and is not paid, for this kind of instrument has none: {_few(found)}; instruments.SYMBOL.kind says the kind"


def _expired(result: "Result") -> str:
    """Contracts that ended before the run began."""
    ended = [
        one for one in result.replay.settings.instruments if one.is_future and one.expiry is not None and one.expiry <= result.period[0]
    ]
    names = _few([f"{one.symbol} ({iso(one.expiry or 0)[:10]})" for one in sorted(ended, key=lambda one: one.symbol)])
    return f"expired before the run begins, so none of their entries are taken (instruments.SYMBOL.expiry): {names}" if ended else ""


def _few(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def _splits(result: "Result") -> str:
    """Splits that indicators may look back past: those of the run and, of each symbol, the last one before it."""
    found = []
    for symbol, name in enumerate(result.replay.symbols):
        tape = result.replay.tape
        rows = np.arange(tape.action_first[symbol], tape.action_stop[symbol])
        rows = rows[tape.action_kind[rows] == SPLIT]
        before = int(np.count_nonzero(tape.action_ts[rows] < result.period[0]))
        rows = rows[max(0, before - 1) :]
        found += [f"{name} {iso(int(tape.action_ts[at]))[:10]} {tape.action_num[at]}:{tape.action_den[at]}" for at in rows]
    if not found:
        return ""
    return (
        "prices are unadjusted: positions, orders and the prices of proposals are restated at a split, "
        f"but indicators that look back past one see a jump, unless they read adj_close and its like ({_few(found)})"
    )


def _adjusted(result: "Result") -> str:
    """Splits that are applied to prices which seem to have them in already."""
    found = []
    for name in result.replay.symbols:
        series, actions = result.dataset.find("bars", name, result.replay.settings.interval), result.dataset.find("actions", name)
        if series is None or actions is None:
            continue
        bars, rows = result.dataset.view("bars", series), result.dataset.view("actions", actions)
        mine = (rows["kind"] == SPLIT) & (rows["ts"] >= result.period[0]) & (rows["ts"] <= result.period[1])
        if any(looks_adjusted(bars, rows, row) for row in np.flatnonzero(mine).tolist()):
            found.append(name)
    return (
        f"prices look adjusted for splits that are applied again here: {', '.join(found)}; ingest raw prices, or leave out the actions"
        if found
        else ""
    )


def _external(result: "Result") -> str:
    if result.provenance != "external":
        return ""
    return "external proposals: nobody has checked that they could be known when they say they were (accept: external)"


def _streamed(result: "Result") -> str:
    if not result.streamed:
        return ""
    return f"streamed proposals of {', '.join(result.streamed)}: decided event by event inside the replay, shown only what was known; not certified"


def _unquoted(result: "Result") -> str:
    tape = result.replay.tape
    if not len(tape.quoted):
        return ""
    rows = np.concatenate([tape.quoted[begin:end] for begin, end in zip(tape.first, tape.stop, strict=True)])
    missing = int(np.count_nonzero(rows == 0))
    return f"{missing} of {len(rows)} bars have no bid and ask; their trade prices and the spread of a snapshot stand in" if missing else ""


def _budgets(result: "Result") -> str:
    total = sum(strategy.budget for strategy in result.config.strategies)
    return f"the budgets add up to {total:.2f} of equity" if total > 1.0 + 1e-9 else ""


def _ruin(result: "Result") -> str:
    return "the account was ruined: equity fell to zero or below, and the run ended there" if result.replay.bankrupt else ""
