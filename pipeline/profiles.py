"""Profiles: sets of options under which a run equals another package's defaults.  They have no code of their own.

A profile is what ``execution.profile`` names; every key of it may be given otherwise in the config.  It stands for the package's way of
filling and sizing, not for its strategy.  Grids are as fine as the integers allow, so that whole lots and ticks do not hide a comparison.
"""

from collections.abc import Mapping
from typing import Any

FINE_GRIDS = {"tick": "1e-5", "lot": "1e-12"}

PROFILES: Mapping[str, Mapping[str, Any]] = {
    # vectorbt 1.2, Portfolio.from_signals: signals fill at the close that made them, with all cash, and stops come after their bar
    "vectorbt": {
        "account": {"decimals": 10},
        "instruments": {"default": {"kind": "spot", "shortable": True, **FINE_GRIDS}},
        "risk": {"size": "all_in", "halts": {"symbol": {"cooldown": {"bars": 1}}}},  # a stop takes the place of its bar's signals
        "execution": {"timing": "close", "limit_gap": "open", "stop_anchor": "entry_close", "finalize": "mark"},
    },
    # backtesting.py 0.6, Backtest: signals fill at the next open, in whole units, with all equity
    "backtesting_py": {
        "account": {"decimals": 10},
        "instruments": {"default": {"kind": "spot", "shortable": True, "tick": "1e-5", "lot": "1"}},
        "risk": {"size": "all_in"},
        "execution": {"timing": "next_open", "size_at": "fill", "limit_gap": "open", "finalize": "mark"},
    },
}


def with_profile(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of a config with those of its profile beneath them.

    >>> with_profile({"execution": {"profile": "backtesting_py", "timing": "close"}})["execution"]["timing"]
    'close'
    """
    execution = values.get("execution")
    profile = PROFILES.get(str(execution.get("profile"))) if isinstance(execution, Mapping) else None
    return _beneath(profile, values) if profile is not None else dict(values)


def _beneath(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        merged[key] = _beneath(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
