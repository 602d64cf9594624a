"""Whether strategies say what their sizes are made from; without it every entry would be refused in the replay."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.config import RunConfig
from pipeline.config_risk import Size
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from features.strategy import StrategySpec

NEEDS = {
    "fixed_risk": ("stop_loss",),
    "vol_target": ("volatility",),
    "kelly": ("win_probability", "payoff"),
    "target_weight": ("weight",),
}
"""Keys of ``propose`` by size.  # R5.1"""


def require_what_sizes_need(config: RunConfig, specs: Sequence["StrategySpec"]) -> None:
    """Check the strategies made from rules, ``specs``; a size model of the user's own may do with less.

    Raises
    ------
    ConfigError
        If none of those that make entries of one size says all that it is made from.
    """
    if config.execution.models.size is not None:
        return
    own = {strategy.id: strategy.size for strategy in config.strategies if strategy.size is not None}
    for spec in specs:
        if spec.id in own:
            _require(f"strategies.{spec.id}.size", own[spec.id], [spec])
    sharing = [spec for spec in specs if spec.id not in own]
    if len(sharing) == len(config.strategies) - len(own):  # a table or an event strategy may say it at any entry
        _require("risk.size", config.risk.size, sharing)


def _require(key: str, size: Size, specs: Sequence["StrategySpec"]) -> None:
    (name,) = size.model_dump(exclude_none=True)
    needs = NEEDS.get(name, ())
    if not needs:
        return
    rules = {spec.id: _rules(spec) for spec in specs}
    entering = {one: said for one, said in rules.items() if "long" in said or "short" in said}  # a target is sized by its weight
    if entering and not any(set(needs) <= set(said) for said in entering.values()):
        whose = f"strategy {next(iter(entering))!r} has" if len(entering) == 1 else f"strategies {', '.join(map(repr, entering))} have"
        keys = " and ".join(f"propose.{need}" for need in needs)
        raise ConfigError(f"{key}.{name}: {whose} no {keys}, so each entry would be refused; add it, or choose another size")


def _rules(spec: "StrategySpec") -> Mapping[str, Any]:
    """The rules of a strategy; none where they are no mapping of known keys, which its plan refuses."""
    from features.strategy import KEYS
    from features.strategy_file import load

    rules = load(spec.file, spec.params, f"strategy {spec.id!r}")[1] if spec.file is not None else spec.propose
    return rules if isinstance(rules, Mapping) and set(rules) <= set(KEYS) else {}
