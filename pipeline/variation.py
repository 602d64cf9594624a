"""The same proposals replayed under other settings: stage one is done once, and what is varied is stage two's alone."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.schema import OPTIONAL_COLUMNS, PROPOSAL_COLUMNS

if TYPE_CHECKING:
    from engine.instrument import DatedRate
    from engine.settings import Settings
    from engine.tape import Tape
    from pipeline.config import RunConfig
    from pipeline.config_execution import Execution
    from pipeline.result import Result

FEE_KEYS = ("bps", "maker_bps", "taker_bps", "per_unit", "flat", "min_fee")
"""Keys of ``execution.fees`` that are amounts; ``tiered`` holds rates."""

SLIPPAGE_KEYS = ("bps", "sqrt_impact")
"""Keys of ``execution.slippage`` that are amounts; ``volume_share`` has one, and a multiple of the spread follows the spread."""


def replayed(
    result: "Result",
    config: "RunConfig",
    *,
    rows: NDArray[np.int64] | None = None,
    spread: float = 1.0,
    funding: float = 1.0,
    interest: float = 1.0,
) -> "Result":
    """The run under another config with the same symbols, strategies and period.

    Parameters
    ----------
    rows
        Proposals that take part, as rows of the run's (default: all).
    spread, funding, interest
        What quoted spreads, funding rates and rates of interest are multiplied by.

    Raises
    ------
    RunError
        If a strategy decides inside the replay: other settings would show it another market and account.
    """
    from engine.session import replay
    from engine.tape import build_tape
    from pipeline.build import settings_of
    from pipeline.errors import RunError

    if result.streamed:
        raise RunError(
            f"{', '.join(result.streamed)}: decided event by event inside the replay, so its proposals are not those of another run; run each config"
        )
    settings = scaled_interest(settings_of(config, result.dataset), interest)
    tape = scaled_tape(build_tape(result.dataset, settings), spread, funding)
    optional = [name for name in OPTIONAL_COLUMNS if rows is None or name != "leg"]  # an entry alone is a decision of its own
    columns = result.replay.proposals.arrays()
    arrays = {name: columns[name] for name in (*PROPOSAL_COLUMNS, *optional) if name in columns and len(columns[name])}
    chosen = arrays if rows is None else {name: array[rows] for name, array in arrays.items()}
    found = replay(result.dataset, chosen, settings, result.replay.symbols, result.replay.strategies, tape)
    return replace(result, config=config, replay=found, seconds={})


def scaled_costs(execution: "Execution", fees: float, slippage: float) -> "Execution":
    """Fees, and slippage with the assumed spread, times a factor each; the half-spread of snapshots and quotes is the tape's."""
    charged, slipped = _scaled(execution.fees, FEE_KEYS, fees), _scaled(execution.slippage, SLIPPAGE_KEYS, slippage)
    if charged.tiered is not None:
        charged = charged.model_copy(update={"tiered": [_scaled(tier, ("maker_bps", "taker_bps"), fees) for tier in charged.tiered]})
    if slipped.volume_share is not None:
        slipped = slipped.model_copy(update={"volume_share": _scaled(slipped.volume_share, ("k",), slippage)})
    spread = _scaled(execution.spread, ("default_bps",), slippage)
    return execution.model_copy(update={"fees": charged, "slippage": slipped, "spread": spread})


def _scaled(section: Any, keys: tuple[str, ...], factor: float) -> Any:
    return section.model_copy(update={name: getattr(section, name) * factor for name in keys if getattr(section, name) is not None})


def scaled_interest(settings: "Settings", factor: float) -> "Settings":
    """Settings with the rates of interest, of shorts and of debt, times a factor."""
    instruments = tuple(replace(one, borrow=_dearer(one.borrow, factor)) for one in settings.instruments)
    return replace(settings, instruments=instruments, interest=_dearer(settings.interest, factor))


def _dearer(rates: "tuple[DatedRate, ...]", factor: float) -> "tuple[DatedRate, ...]":
    return tuple(row._replace(rate=row.rate * factor) for row in rates)


def scaled_tape(tape: "Tape", spread: float, funding: float) -> "Tape":
    """Market data with the half-spreads, of snapshots and of bid and ask candles, and the funding rates times a factor."""
    if funding != 1.0:
        tape = tape.replace(funding_rate=_frozen(tape.funding_rate * funding))
    if spread == 1.0:
        return tape
    middle, half = (tape.spread_bid + tape.spread_ask) / 2, (tape.spread_ask - tape.spread_bid) / 2 * spread
    tape = tape.replace(spread_bid=_frozen(middle - half), spread_ask=_frozen(middle + half))
    return tape.replace(**_scaled_candles(tape, spread)) if len(tape.quoted) else tape


def _scaled_candles(tape: "Tape", spread: float) -> dict[str, NDArray[np.float64]]:
    """Bid and ask candles about their mid; a high stays the highest and a low the lowest."""
    found = {}
    for name in ("open", "high", "low", "close"):
        bid, ask = getattr(tape, f"bid_{name}"), getattr(tape, f"ask_{name}")
        middle, half = (bid + ask) / 2, (ask - bid) / 2 * spread
        found[f"bid_{name}"], found[f"ask_{name}"] = middle - half, middle + half
    for side in ("bid", "ask"):
        prices = [found[f"{side}_{name}"] for name in ("open", "high", "low", "close")]
        found[f"{side}_high"], found[f"{side}_low"] = np.maximum.reduce(prices), np.minimum.reduce(prices)
    return {name: _frozen(array) for name, array in found.items()}


def _frozen(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
