"""Configs: what is accepted, what is refused, and how the refusal reads."""

import re
from pathlib import Path
from typing import Any

import pytest

from engine.instrument import KINDS
from engine.settings import Conversion
from pipeline.build import dataset_of, settings_of, strategies_of
from pipeline.config import NOT_YET
from pipeline.config_account import InstrumentConfig
from pipeline.configfile import apply_overrides, dump_yaml, load_config, parse_config, read_yaml
from pipeline.errors import ConfigError

MINIMAL: dict[str, Any] = {"dataset": "d", "strategies": [{"id": "a", "propose": {"long": "close > open"}}]}


def config(*overrides: str) -> Any:
    return parse_config(apply_overrides(MINIMAL, overrides))


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config(*overrides)
    return str(caught.value)


def test_defaults_are_the_pessimistic_ones() -> None:
    found = config()
    assert found.execution.intrabar == "pessimistic"
    assert found.execution.timing == "next_open"
    assert found.execution.finalize == "close"


@pytest.mark.parametrize(
    ("override", "path", "value", "mend"),
    [
        ("risk.halts.drawdwon=0.3", "risk.halts.drawdwon", "0.3", "did you mean 'drawdown'"),
        ("fees=3", "fees", "3", "did you mean 'execution.fees'"),
        ("execution.intrabar=pesimistic", "execution.intrabar", "'pesimistic'", "did you mean 'pessimistic'"),
        ("strategies.a.budget=2", "strategies.0.budget", "2", "less than or equal to 1"),
        ("account.cash=.inf", "account.cash", "inf", "finite"),
        ("account.cash='100'", "account.cash", "'100'", "number"),
        ("account.leverage=true", "account.leverage", "True", "number"),
        ("period.start=soon", "period.start", "'soon'", "2025-06-01"),
        ("period={start: 2025-02-01, end: 2025-01-01}", "period", "2025-01-01", "after start"),
        ("execution.participation=2", "execution.participation.share", "2", "less than or equal to 1"),
        ("execution.participation={share: 0.1, of: next}", "execution.participation.of", "'next'", "'last'"),
        ("execution.latency=5", "execution.latency", "5", "250ms"),
        ("execution.latency=999999999d", "execution.latency", "999999999d", "at most 36500d"),
        ("selector.max_positions=1.5", "selector.max_positions", "1.5", "must be an integer"),
        ("symbols=[]", "symbols", "", "must have at least 1 item, not 0"),
        ("dataset=''", "dataset", "''", "must not be empty"),
        ("instruments.X.tick=0", "instruments.X.tick", "0", "positive decimal"),
        ("risk.size={fixed_qty: 1, fixed_risk: 0.1}", "risk.size", "", "exactly one of"),
        ("strategies.a.file=x.py", "strategies.0", "'a'", "exactly one of"),
        ("strategies.a.params={n: 1}", "strategies.0", "'a'", "no file"),
        ("symbols=[A, A]", "symbols", "'A'", "appears 2 times"),
        ("execution=3", "execution", "3", "keys among profile"),
        ("execution.fees={bps: 1, taker_bps: 2}", "execution.fees", "bps", "either"),
        ("execution.fees={bps: 1, tiered: [{from_notional: 0}]}", "execution.fees", "tiered beside bps", "the tiers say both rates"),
        ("execution.fees.tiered=[{from_notional: 5}]", "execution.fees", "5.0", "the first being 0"),
        ("execution.fees.tiered=[{from_notional: 0}, {from_notional: 0}]", "execution.fees", "0.0, 0.0", "must ascend"),
        ("execution.fees.min_fee=-1", "execution.fees.min_fee", "-1", "greater than or equal to 0"),
        ("execution.slippage={volume_share: {k: 2}}", "execution.slippage.volume_share", "2.0", "no price left"),
        ("execution.slippage={volume_share: {k: 0.1}, bps: 1}", "execution.slippage", "", "one of bps, spread, volume_share, sqrt_impact"),
        ("execution.slippage.sqrt_impact=1", "execution.slippage.sqrt_impact", "1", "less than 1"),
        ("execution.stop_check=closes", "execution.stop_check", "'closes'", "did you mean 'close'"),
        ("instruments.X.rules=[{from: 2024-03-01}, {from: 2024-02-01}]", "instruments.X.rules", "2024-02-01", "after from 2024-03-01"),
        ("instruments.X.rules=[{form: 2024-03-01}]", "instruments.X.rules.0", "form", "did you mean 'from'"),
        (
            "instruments.X.borrow=[{from: 2024-03-01, rate: 0.1}, {from: 2024-03-01, rate: 0.2}]",
            "instruments.X.borrow",
            "",
            "after from 2024-03-01",
        ),
        ("instruments.X.borrow=[{from: 2024-03-01, rate: 50}]", "instruments.X.borrow.0.rate", "50", "less than or equal to 10"),
        ("instruments.X.settlement=16", "instruments.X.settlement", "16", "time of day in UTC"),
        ("instruments.X.settlement='24:00'", "instruments.X.settlement", "24:00", "time of day in UTC"),
        ("instruments.X.kind=futures", "instruments.X.kind", "'futures'", "did you mean 'future'"),
        ("account.interest=[]", "account.interest", "", "at least 1"),
        ("account.interest=[{form: 2024-03-01, rate: 0.1}]", "account.interest.0", "form", "did you mean 'from'"),
        ("account.maintenance=[{floor: 5, rate: 0.01}]", "account.maintenance", "5.0", "begin with floor 0"),
        ("account.maintenance=[{floor: 0, rate: 0.1}, {floor: 9, rate: 0.01}]", "account.maintenance", "9.0", "must ascend"),
        ("account.maintenance=[{floor: 0, rate: 1.5}]", "account.maintenance.0.rate", "1.5", "less than 1"),
        ("account.margin=isolate", "account.margin", "'isolate'", "did you mean 'isolated'"),
        ("instruments.X.leverage=0.5", "instruments.X.leverage", "0.5", "greater than or equal to 1"),
        ("ledger=trade", "ledger", "'trade'", "did you mean 'trades'"),
    ],
)
def test_a_refusal_names_the_key_its_value_and_what_is_allowed(override: str, path: str, value: str, mend: str) -> None:
    message = refusal(override)
    assert path in message
    assert value in message
    assert mend in message


@pytest.mark.parametrize("key", sorted(NOT_YET))
def test_keys_of_a_later_version_are_refused_by_name(key: str) -> None:
    assert f"{key}: not available yet" in refusal(f"{key}=1")


@pytest.mark.parametrize("override", ["instruments.X.kind=option"])
def test_values_of_a_later_version_are_refused_by_name(override: str) -> None:
    assert "not available yet" in refusal(override)


def test_every_kind_of_instrument_can_be_configured() -> None:
    assert set(KINDS) <= set(str(InstrumentConfig.model_fields["kind"].annotation).replace("'", " ").replace(",", " ").split())


def test_all_mistakes_are_told_at_once() -> None:
    message = refusal("risk.max_gros=1", "seed=-1")
    assert "risk.max_gros" in message
    assert "seed" in message


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="dataset: missing"):
        parse_config({"strategies": MINIMAL["strategies"]})


def test_yaml_is_version_1_2(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: 1e-4\nb: NO\nc: 0o17\n", encoding="utf-8")
    assert read_yaml(path) == {"a": 1e-4, "b": "NO", "c": 15}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line"),
        ("a: 1\na: 2\n", "line 2"),
        ("- 1\n", "mapping"),
        ("", "nothing"),
        ("!!python/object/apply:os.system [ls]\n", "not YAML"),
        ("a: &x {b: *x}\n", "aliases"),
    ],
)
def test_bad_yaml_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load_config(path)


def test_aliases_that_explode_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(ConfigError, match="more than"):
        load_config(path)


@pytest.mark.parametrize("name", ["absent.yaml", "folder"])
def test_a_config_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=name):
        load_config(tmp_path / name)


def test_a_config_without_end_is_refused() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no device without end here")
    with pytest.raises(ConfigError, match="longer than"):
        load_config("/dev/zero")


def test_set_reaches_into_lists_by_index_and_id() -> None:
    assert config("strategies.a.budget=0.5").strategies[0].budget == 0.5
    assert config("strategies.0.budget=0.25").strategies[0].budget == 0.25


@pytest.mark.parametrize("override", ["a", "=1", "a..b=1", "strategies.b.budget=1", "dataset.x=1", "seed=[", "strategies.7.budget=1"])
def test_a_bad_set_is_refused(override: str) -> None:
    assert override in refusal(override)


def test_a_resolved_config_reads_back_as_itself(tmp_path: Path) -> None:
    first = config(
        "execution.slippage={bps: 1}",
        "execution.fees={maker_bps: 2, taker_bps: 5}",
        "period.start=2025-01-02T03:04:05Z",
        "execution.spread=none",
    )
    path = tmp_path / "c.yaml"
    path.write_text(dump_yaml(first.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    assert load_config(path) == first


def test_paths_of_strategies_are_relative_to_the_config(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("dataset: d\nstrategies: [{id: a, file: s/x.py}]\n", encoding="utf-8")
    assert load_config(path).strategies[0].file == str((tmp_path / "s/x.py").resolve())


def test_prices_in_another_currency_need_a_source_that_is_there() -> None:
    given = ["dataset=demo://perps?symbols=2&days=5", "account.currency=USD", "instruments={default: {quote: JPY}}"]
    dataset = dataset_of(config(*given))
    symbol = dataset.symbols[0]
    with pytest.raises(ConfigError, match=r"account\.conversion: .* is quoted in JPY and the account is in USD.*JPYUSD"):
        settings_of(config(*given), dataset)
    with pytest.raises(ConfigError, match=r"account\.conversion\.JPY\.symbol = 'NONE': has no bars"):
        settings_of(config(*given, "account.conversion={JPY: {symbol: NONE}}"), dataset)
    found = settings_of(config(*given, f"account.conversion={{JPY: {{symbol: {symbol}, invert: true}}}}"), dataset)
    assert found.conversions == (Conversion("JPY", symbol, invert=True),)
    assert {one.quote for one in found.instruments} == {"JPY"}
    own = settings_of(config(*given, "account.currency=JPY"), dataset)
    assert not own.conversions
    assert {one.quote for one in own.instruments} == {""}
    for given_for, told in {
        "JYP": r"no symbol is quoted in JYP.*did you mean 'JPY'",
        "CHF": r"no symbol is quoted in CHF.*instruments\.SYMBOL\.quote: CHF",
        "USD": r"it is account\.currency",
    }.items():
        unused = f"account.conversion={{JPY: {{symbol: {symbol}}}, {given_for}: {{symbol: {symbol}}}}}"
        with pytest.raises(ConfigError, match=rf"account\.conversion\.{given_for}: {told}"):
            settings_of(config(*given, unused), dataset)


def test_a_rate_may_be_of_a_symbol_that_is_left_out() -> None:
    given = ["dataset=demo://perps?symbols=2&days=5", "account.currency=USD"]
    one, other = dataset_of(config(*given)).symbols
    given += [f"instruments={{{other}: {{quote: JPY}}}}", f"symbols=[{one}]", f"account.conversion={{JPY: {{symbol: {one}}}}}"]
    assert not settings_of(config(*given), dataset_of(config(*given))).conversions


NEEDED = {
    "fixed_risk: 0.01": {"stop_loss": "0.9 * close"},
    "vol_target: 0.1": {"volatility": "0.3"},
    "kelly: {fraction: 0.5}": {"win_probability": "0.6", "payoff": "2"},
    "target_weight: true": {"weight": "0.2"},
}


@pytest.mark.parametrize("size", NEEDED)
@pytest.mark.parametrize("place", ["risk.size", "strategies.a.size"])
def test_a_size_needs_what_it_is_made_from(size: str, place: str) -> None:  # R5.1
    given = f"{place}={{{size}}}"
    keys = [f"propose.{name}" for name in NEEDED[size]]
    whole = [f"strategies.a.{key}={rule!r}" for key, rule in zip(keys, NEEDED[size].values(), strict=True)]
    assert len(strategies_of(config(given, *whole))) == 1
    for some in range(len(whole)):  # none of them, and all but the last
        with pytest.raises(ConfigError, match=rf"{re.escape(place)}\.{size.split(':')[0]}: strategy 'a' has no {' and '.join(keys)}"):
            strategies_of(config(given, *whole[:some]))


def test_a_size_that_another_strategy_or_a_model_serves_is_left_alone(tmp_path: Path) -> None:
    risk = "risk.size={fixed_risk: 0.01}"
    entry = {"id": "a", "propose": {"long": "close > open"}}
    stopped = {"id": "b", "propose": {"long": "close > open", "stop_loss": {"fraction": 0.1}}}
    aimed = {"id": "c", "propose": {"target": "close > open", "weight": "0.2"}}
    table = {"id": "d", "proposals": "memory"}

    def made(*strategies: dict[str, Any], also: tuple[str, ...] = ()) -> int:
        return len(strategies_of(parse_config(apply_overrides({"dataset": "d", "strategies": list(strategies)}, [risk, *also]))))

    assert (made(entry, stopped), made(aimed), made(entry, table)) == (2, 1, 1)
    assert made(entry, also=("execution.models.size=m.py:size",)) == 1
    with pytest.raises(ConfigError, match=r"strategies 'a', 'e' have no propose\.stop_loss"):
        made(entry, aimed, entry | {"id": "e"})
    file = tmp_path / "s.py"
    file.write_text("class S:\n    def features(self): return {}\n    def propose(self): return {'long': 'close > open'}\n")
    with pytest.raises(ConfigError, match=r"risk\.size\.fixed_risk: strategy 'f' has no propose\.stop_loss"):
        made({"id": "f", "file": str(file)})
    assert made({"id": "g", "propose": {"long": "close > open", "stop_los": "0.9 * close"}}) == 1  # its plan names the wrong key


def test_inverse_contracts_are_not_converted() -> None:  # R6.2
    given = ["dataset=demo://perps?symbols=2&days=5", "account.currency=BTC", "instruments={default: {kind: inverse_perp, quote: USD}}"]
    with pytest.raises(ConfigError, match=r"quote = 'USD': the money of an inverse contract is its coin"):
        settings_of(config(*given), dataset_of(config(*given)))


def test_isolated_margin_needs_tiers_and_fills_in_deductions() -> None:  # R7.2
    run = {"dataset": "demo://perps?symbols=2&days=5", "account.margin": "isolated"}
    given = [f"{key}={value}" for key, value in run.items()]
    dataset = dataset_of(config(*given))
    with pytest.raises(ConfigError, match=r"has no maintenance tiers.*account\.maintenance"):
        settings_of(config(*given), dataset)
    found = settings_of(config(*given, "account.maintenance=[{floor: 0, rate: 0.01}, {floor: 1000, rate: 0.02}]"), dataset)
    assert [tuple(tier) for tier in found.instruments[0].maintenance] == [(0.0, 0.01, 0.0), (1000.0, 0.02, 10.0)]
