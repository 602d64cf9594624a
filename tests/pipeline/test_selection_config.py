"""The keys of selection, sizes and halts: what they come to, and what is refused."""

import math
from pathlib import Path
from typing import Any

import pytest

from engine.schema import NEVER, OnHeld, SizeKind
from engine.settings import UNLIMITED, HaltLimits
from pipeline.build import dataset_of, settings_of
from pipeline.config import RunConfig
from pipeline.configfile import dump_yaml, load_config, parse_config
from pipeline.errors import ConfigError
from pipeline.instruments import instrument_of, instruments_of

DEMO = "demo://perps?symbols=2&days=2&interval=1h&seed=7"
HOUR_US = 3_600_000_000


def config(**sections: Any) -> RunConfig:
    strategies = [
        {"id": "a", "propose": {"long": "close > 1"}},
        {"id": "b", "propose": {"long": "close > 1"}, "on_held": "reverse", "max_adds": 2},
    ]
    return parse_config({"dataset": DEMO, "strategies": strategies} | sections)


def settings(**sections: Any) -> Any:
    chosen = config(**sections)
    return settings_of(chosen, dataset_of(chosen))


def test_on_held_is_the_selectors_unless_a_strategy_has_its_own() -> None:
    a, b = settings(selector={"on_held": "add", "max_adds": 5}).strategies
    assert (a.on_held, a.max_adds, b.on_held, b.max_adds) == (OnHeld.ADD, 5, OnHeld.REVERSE, 2)
    assert [one.max_adds for one in settings().strategies] == [UNLIMITED, 2]


def test_groups_reach_their_instruments_and_rotation_its_margin() -> None:
    found = settings(
        selector={"groups": {"majors": ["ALFAUSDT"]}, "max_per_group": 1, "max_positions": 3, "rotate": True, "rotate_margin": 0.5}
    )
    assert {one.symbol: one.group for one in found.instruments} == {"ALFAUSDT": "majors", "BRAVOUSDT": ""}
    assert (found.max_per_group, found.max_per_strategy, found.rotate_margin) == (1, UNLIMITED, 0.5)
    assert settings().rotate_margin == math.inf


@pytest.mark.parametrize(
    ("size", "kind", "amount", "cap"),
    [
        ({"vol_target": 0.2}, SizeKind.VOL_TARGET, 0.2, math.inf),
        ({"kelly": {"fraction": 0.5}}, SizeKind.KELLY, 0.5, 1.0),
        ({"kelly": {"fraction": 0.25, "cap": 0.1}}, SizeKind.KELLY, 0.25, 0.1),
        ("target_weight", SizeKind.TARGET_WEIGHT, 1.0, math.inf),
    ],
)
def test_sizes(size: Any, kind: SizeKind, amount: float, cap: float) -> None:
    first = settings(risk={"size": size}).strategies[0]
    assert (first.size, first.amount, first.cap) == (kind, amount, cap)


def test_halts_of_each_scope() -> None:
    losses = {"count": 3, "for": "5h"}
    found = settings(risk={"halts": {"consecutive_losses": losses, "strategy": {"cooldown": {"bars": 4}}, "symbol": {"drawdown": 0.1}}})
    assert found.halts == HaltLimits(losses=3, losses_for_us=5 * HOUR_US)
    assert found.strategy_halts == HaltLimits(cooldown_bars=4)
    assert found.symbol_halts == HaltLimits(drawdown=0.1, resume_after_us=NEVER)


def test_a_halt_reads_back_from_the_resolved_config(tmp_path: Path) -> None:
    first = config(risk={"halts": {"consecutive_losses": {"count": 3, "for": "3d"}}})
    path = tmp_path / "c.yaml"
    path.write_text(dump_yaml(first.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    assert load_config(path) == first
    assert "for: 3d" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"selector": {"on_held": "ad"}}, "did you mean 'add'"),
        ({"selector": {"max_per_group": 1}}, "needs groups"),
        ({"selector": {"rotate": True}}, "needs max_positions"),
        ({"selector": {"rotate_margin": 0.5}}, "needs rotate"),
        ({"selector": {"groups": {"x": ["A"], "y": ["A"]}}}, "'A' appears 2 times"),
        ({"risk": {"max_group": 0.5}}, "needs selector.groups"),
        ({"risk": {"size": {"kelly": {"fraction": 2.0}}}}, "risk.size.kelly.fraction = 2.0"),
        ({"risk": {"halts": {"consecutive_losses": {"count": 2, "fo": "3d"}}}}, "did you mean 'for'"),
        ({"risk": {"halts": {"consecutive_losses": {"for": "3d"}}}}, "risk.halts.consecutive_losses.count: missing"),
        ({"risk": {"halts": {"strategy": {"cooldown": {"bars": 0}}}}}, "risk.halts.strategy.cooldown.bars = 0"),
    ],
)
def test_what_makes_no_sense_is_refused(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**sections)
    assert said in str(caught.value)


def test_a_group_of_an_unknown_symbol_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"selector\.groups\.majors: 'ALPHAUSDT' has no bars"):
        settings(selector={"groups": {"majors": ["ALPHAUSDT"]}})


def test_symbols_that_are_alike_are_what_each_is_alone() -> None:
    chosen = config(
        dataset=DEMO.replace("symbols=2", "symbols=12"),
        selector={"groups": {"majors": ["ALFAUSDT", "CHARLIEUSDT"]}},
        instruments={
            "default": {"leverage": 3, "maintenance": [{"floor": 0, "rate": 0.01}]},
            "BRAVOUSDT": {"kind": "future", "multiplier": 50},
        },
    )
    dataset = dataset_of(chosen)
    found = instruments_of(chosen, dataset, dataset.symbols)
    assert found == tuple(instrument_of(chosen, dataset, symbol) for symbol in dataset.symbols)
    assert {one.group for one in found} == {"", "majors"} and {one.kind for one in found} == {"linear_perp", "future"}
    assert [one.symbol for one in found] == list(dataset.symbols)
