"""Folders of runs compared: what differs in their configs, the first record on which they part, and what it cost."""

import shutil
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from engine.dataset import Dataset
from engine.ledger import LedgerError
from pipeline import demo
from pipeline.config import RunConfig
from pipeline.configfile import apply_overrides, parse_config
from pipeline.diff import Difference, diff
from pipeline.errors import RunError
from pipeline.folder import save
from pipeline.launch import run
from tests.pipeline.small import rehash
from tests.pipeline.test_explain import DIP_SIZE, MARKET, VALUES

CHANGES = (
    "execution.fees.taker_bps=9",
    "execution.slippage.bps=20",
    "execution.timing=close",
    "execution.finalize=mark",
    "selector.max_positions=1",
    "risk.size={fixed_risk: 0.005}",
    "risk.max_position=0.1",
    "strategies.trend.propose.stop_loss=close - side * 2 * atr",
    "strategies.trend.features.fast.ema.n=7",
    "account.cash=12345",
    "account.decimals=2",
    "instruments={default: {lot: 0.5}}",
)


def config(*overrides: str) -> RunConfig:
    return parse_config(apply_overrides(VALUES, (DIP_SIZE, *overrides)))


@pytest.fixture(scope="module")
def market() -> Dataset:
    return demo.build(MARKET)


@pytest.fixture(scope="module")
def plain(market: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(run(config(), dataset=market), tmp_path_factory.mktemp("runs"))


def shown(found: Difference) -> str:
    text = StringIO()
    found.show(Console(file=text, width=200))
    return text.getvalue()


@pytest.mark.parametrize("change", CHANGES)
def test_causes_add_up_and_the_key_that_differs_is_named(plain: Path, market: Dataset, tmp_path: Path, change: str) -> None:
    other = save(run(config(change), dataset=market), tmp_path)
    found = diff(plain, other)
    key = change.split("=", 1)[0]
    assert found.config and all(path.startswith(key.split(".")[0]) for path, _, _ in found.config)
    assert not found.identical and found.parting is not None
    values = found.as_dict()
    assert values["units"]["difference"] == sum(values["units"]["causes"].values())
    equities = [side["final_equity"] for side in (values["left"], values["right"])]
    assert values["difference"] == pytest.approx(equities[1] - equities[0], abs=1e-9)
    text = shown(found)
    assert key.split(".")[-1] in text and "the ledgers part at record" in text


def test_other_fees_are_found_at_the_first_approval_and_mostly_fees(plain: Path, market: Dataset, tmp_path: Path) -> None:
    found = diff(plain, save(run(config("execution.fees.taker_bps=9"), dataset=market), tmp_path))
    assert found.parting is not None and found.parting.columns == ("amount",)
    text = shown(found)
    assert "approved to" in text and "because" in text and "proposal to" in text
    causes = found.attribution.causes
    assert causes["fees"] < 0 and abs(causes["fees"]) > abs(causes["fills"]) + abs(causes["funding"])


def test_the_same_run_is_identical_and_what_cannot_matter_is_not_listed(plain: Path, market: Dataset, tmp_path: Path) -> None:
    again = save(run(config("name=other", "ledger=full", "jobs=1"), dataset=market), tmp_path)
    found = diff(plain, again)
    assert found.identical and found.same_ledger and found.config == []
    assert "identical" in shown(found) and "no key that can change a result differs" in shown(found)
    assert found.attribution.difference == 0


def test_a_key_without_effect_is_listed_and_the_ledgers_are_still_identical(plain: Path, market: Dataset, tmp_path: Path) -> None:
    found = diff(plain, save(run(config("selector.min_score=-1e9"), dataset=market), tmp_path))
    assert found.identical
    assert "selector.min_score: not set | -1000000000.0" in shown(found)


def test_proposals_that_are_only_counted_can_differ_alone(plain: Path, market: Dataset, tmp_path: Path) -> None:
    never_short = save(run(config("strategies.dip.propose.exit_short=close > 0"), dataset=market), tmp_path)
    found = diff(plain, never_short)
    assert found.same_ledger and not found.identical
    assert "only proposals that are counted and not stored differ" in shown(found)
    assert set(found.attribution.causes.values()) == {0}


def test_another_dataset_is_said(plain: Path, tmp_path: Path) -> None:
    other = save(run(config(f"dataset={MARKET.replace('seed=3', 'seed=4')}")), tmp_path)
    found = diff(plain, other)
    assert "other data" in shown(found)
    assert not found.as_dict()["same_dataset"]


def test_money_of_two_currencies_is_not_compared(plain: Path, market: Dataset, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="EUR: their money cannot be compared"):
        diff(plain, save(run(config("account.currency=EUR"), dataset=market), tmp_path))


def test_an_altered_ledger_is_refused(plain: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(plain, tmp_path / "copy"))
    (copy / "ledger.arrow").write_bytes((copy / "ledger.arrow").read_bytes()[:-200])
    with pytest.raises(RunError, match=r"ledger\.arrow: altered since it was written"):
        diff(plain, copy)
    rehash(copy)
    with pytest.raises(LedgerError):
        diff(plain, copy)
