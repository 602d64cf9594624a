"""Users' own models: their form, their errors, and how the replay calls them.  # R2.8 R9.2"""

import hashlib
import importlib
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core import config

from engine.kernel import entry, kernel
from engine.model_call import answer, ask, call, draw, event_key
from engine.models import PARAMETERS, Candidate, Model, ModelError, ModelKind, Selected, compile_model, load_model
from engine.schema import Action
from engine.session import ReplayError
from tests.differential import kernel_run, oracle_run, outcome_of
from tests.markets import Case, random_case
from tests.oracle.examples import FLAT, market, propose, settings, table

WORDS = st.integers(0, 2**62)


@entry
def compiled_key(seed: int, ts: int, symbol: int, strategy: int) -> int:
    return event_key(seed, ts, symbol, strategy)


@entry
def compiled_draw(key: int, n: int) -> float:
    return draw(key, n)


@entry
def called(address: int, notional: float, qty: float) -> float:
    return call(address, (notional, qty, 1.0))


def flat_fee(notional: float, qty: float, maker: float) -> float:
    return 1.0 + 0.001 * notional if maker > 0.0 else 2.0


@given(WORDS, WORDS, WORDS, WORDS, st.integers(0, 2**40))
def test_keys_and_draws_are_the_same_compiled_and_not(seed: int, ts: int, symbol: int, strategy: int, n: int) -> None:  # R9.2
    key = event_key(seed, ts, symbol, strategy)
    assert 0 <= key < 2**63
    assert compiled_key(seed, ts, symbol, strategy) == key
    assert compiled_draw(key, n) == draw(key, n)
    assert 0.0 <= draw(key, n) < 1.0


def test_draws_of_a_key_are_spread_evenly() -> None:  # R9.2
    numbers = [draw(event_key(7, ts, 3, 1), n) for ts in range(200) for n in range(50)]
    tenths = [sum(i <= 10 * number < i + 1 for number in numbers) for i in range(10)]
    assert all(850 < count < 1150 for count in tenths)
    assert len(set(numbers)) == len(numbers)


def test_a_model_is_called_by_its_address() -> None:  # R2.8
    model = compile_model(ModelKind.FEE, flat_fee)
    assert called(model.address, 500.0, 3.0) == flat_fee(500.0, 3.0, 1.0) == 1.5


def test_a_jitted_function_is_a_model_too() -> None:
    assert called(compile_model(ModelKind.FEE, kernel(flat_fee)).address, 500.0, 3.0) == 1.5


def of_wrong_form(notional: float, qty: float) -> float:
    return notional


def that_raises(notional: float, qty: float, maker: float) -> float:
    if notional < 0:
        raise ValueError("negative")
    return 0.0


def that_returns_text(notional: float, qty: float, maker: float) -> Any:
    return "free"


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (of_wrong_form, "takes (notional, qty); a fee model is fee(notional, qty, maker) -> float"),
        (that_raises, "cannot raise or assert inside the replay; return NaN"),
        (that_returns_text, "does not compile as a fee model fee(notional, qty, maker) -> float: No conversion"),
        (int, "is not a function; a fee model is one: fee(notional, qty, maker) -> float"),
    ],
)
def test_a_model_of_the_wrong_form_is_refused(function: Callable[..., Any], said: str) -> None:
    if function is that_returns_text and config.DISABLE_JIT:
        pytest.skip("nothing is compiled")
    with pytest.raises(ModelError) as refused:
        compile_model(ModelKind.FEE, function)
    assert said in str(refused.value)


def of_the_score(score: float) -> float:
    return score


def of_a_misspelt_column(entry: Candidate) -> float:
    return entry.score / entry.volatilty  # type: ignore[attr-defined,no-any-return]


def of_the_other_record(entry: Selected) -> float:
    return entry.rank


def of_many(*entry: Candidate) -> float:
    return entry[0].score


def by_name(*, entry: Candidate) -> float:
    return entry.score


async def later(entry: Candidate) -> float:
    return entry.score


def one_by_one(entry: Candidate) -> Iterator[float]:
    yield entry.score


def that_writes(entry: Candidate) -> float:
    entry.score = 1.0  # type: ignore[misc]
    return entry.score


def that_adds(entry: Candidate) -> float:
    entry.score += 1.0  # type: ignore[misc]
    return entry.score


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (of_many, "takes (*entry); a selector model is selector(entry) -> float"),
        (by_name, "takes (*, entry); a selector model is selector(entry) -> float"),
        (later, "is async, or yields; a selector model is a plain function that returns a number: selector(entry) -> float"),
        (one_by_one, "is async, or yields"),
        (that_writes, "line 2: a model cannot write to its entry; give the value a name of its own: score = ..."),
        (that_adds, "line 2: a model cannot write to its entry"),
        (of_the_score, "takes (score); a selector model is selector(entry) -> float"),
        (of_a_misspelt_column, "the entry of a selector model has no 'volatilty'; perhaps 'volatility'; it has score, side, close"),
        (of_the_other_record, "the entry of a selector model has no 'rank'; it has score, side, close"),
    ],
)
def test_a_model_of_an_entry_knows_its_fields(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(ModelError) as refused:
        compile_model(ModelKind.SELECTOR, function)
    assert said in str(refused.value)


@entry
def asked(address: int, row: int) -> float:
    return ask(address, Selected(row, 2.0, 3, *(4.0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16), 16, np.int32(17), np.int8(18), 19))


def first_and_last(entry: Selected) -> float:
    return entry.capital + 1000.0 * entry.reference + 1e6 * entry.symbol + 1e9 * (entry.key // 2)


def test_a_model_of_an_entry_is_called_by_its_address_whatever_the_width_of_its_numbers() -> None:  # R2.8
    assert asked(compile_model(ModelKind.SIZE, first_and_last).address, 1) == 1 + 3_000 + 17_000_000 + 9_000_000_000


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (None, "fee", "no such file; a model is FILE.py:FUNCTION"),
        ("def fee(:", "fee", "cannot be run: SyntaxError"),
        ("raise SystemExit(3)", "fee", "cannot be run: SystemExit: 3"),
        ("def charge(notional, qty, maker):\n    return 0.0\n", "fee", "has no function 'fee'; it has charge"),
    ],
)
def test_a_file_without_the_model_is_refused(tmp_path: Path, text: str | None, name: str, said: str) -> None:
    path = tmp_path / "costs.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ModelError) as refused:
        load_model(ModelKind.FEE, path, name)
    assert said in str(refused.value)
    assert "costs.py" in str(refused.value)


def test_a_model_is_known_by_its_file(tmp_path: Path) -> None:  # R9.3
    path = tmp_path / "costs.py"
    path.write_text("def fee(notional, qty, maker):\n    return 0.25\n")
    first = load_model(ModelKind.FEE, path, "fee")
    path.write_text("def fee(notional, qty, maker):\n    return 0.75\n")
    second = load_model(ModelKind.FEE, path, "fee")
    assert (first.name, first.source_hash) != (second.name, second.source_hash)
    assert (called(first.address, 1.0, 1.0), called(second.address, 1.0, 1.0)) == (0.25, 0.75)


WITH_RATES = "import rates\nfrom rates import rate\n\ndef fee(notional, qty, maker):\n    return {}\n"
RATES = "import numba\n\nSTEP = 0.5\n\n@numba.njit\ndef deep(x):\n    return {} * x\n\n@numba.njit\ndef rate(x):\n    return deep(x)\n"


def of_a_module(folder: Path, body: str, number: float, before: str = "") -> Model:
    """A fee model that refers to another file, as a process of its own would load it."""
    (folder / "costs.py").write_text(before + WITH_RATES.format(body))
    (folder / "rates.py").write_text(RATES.format(number))
    sys.modules.pop("rates", None)
    importlib.invalidate_caches()
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    return load_model(ModelKind.FEE, folder / "costs.py", "fee")


@pytest.mark.parametrize("body", ["rate(notional)", "rates.rate(notional)", "1.0 if maker > 0.0 else rates.deep(qty)"])
def test_a_model_is_known_by_the_files_of_what_it_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:  # R9.3
    monkeypatch.syspath_prepend(tmp_path)
    first, second, again = (of_a_module(tmp_path, body, number) for number in (0.25, 0.75, 0.25))
    assert first.source_hash != second.source_hash
    assert first.source_hash == again.source_hash
    told = (100.0, 100.0, 0.0)
    assert [called(one.address, *told[:2]) if "maker" not in body else one.function(*told) for one in (first, second)] == [25.0, 75.0]


def test_a_model_is_known_by_the_constants_it_reads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # R9.3
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "costs.py").write_text("import rates\n\ndef fee(notional, qty, maker):\n    return rates.RATE * notional\n")
    found = []
    for text in ("RATE = 0.5", "RATE = 0.25", "RATE = 0.5  # half"):
        (tmp_path / "rates.py").write_text(text)
        sys.modules.pop("rates", None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        found.append(load_model(ModelKind.FEE, tmp_path / "costs.py", "fee").source_hash)
    assert found[0] == found[2] != found[1]


def test_a_model_that_refers_to_nothing_is_known_by_its_file_alone(tmp_path: Path) -> None:  # R9.3
    path = tmp_path / "costs.py"
    path.write_text("from engine.models import draw\n\ndef fee(notional, qty, maker):\n    return draw(7, 0)\n")
    assert load_model(ModelKind.FEE, path, "fee").source_hash == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("head", "body", "named"),
    [
        ("import random", "random.random()", "random"),
        ("from random import uniform", "uniform(0.0, 1.0)", "uniform"),
        ("import numpy as np", "np.random.normal()", "np.random"),
        ("import numpy.random as rn", "rn.random()", "rn"),
        ("from numpy.random import standard_normal", "standard_normal()", "standard_normal"),
        ("import numpy as np\nrng = np.random.default_rng(7)", "rng.random()", "rng"),
        ("import numpy as np", "[n.random.random() for n in (np,)][0]", "np.random"),
        ("import numpy as np", "(lambda x: x + np.random.random())(qty)", "np.random"),
        ("import random, numba\n@numba.njit\ndef noise():\n    return random.random()", "noise()", "random by way of noise"),
        ("import numpy as np, numba\n@numba.njit\ndef noise():\n    return np.random.random()\n@numba.njit\ndef more():\n    return noise()", "more()", "np.random by way of noise"),
    ],
)  # fmt: skip
def test_a_model_that_draws_for_itself_is_refused(tmp_path: Path, head: str, body: str, named: str) -> None:  # R9.2
    path = tmp_path / "costs.py"
    for kind, told in ((ModelKind.FEE, "a fee model has no key"), (ModelKind.SLIPPAGE, "docs/models.md")):
        path.write_text(f"{head}\n\ndef own({', '.join(PARAMETERS[kind])}):\n    return 0.001 * {body}\n")
        with pytest.raises(ModelError) as refused:
            load_model(kind, path, "own")
        assert f"costs.py:own refers to {named}: a model's own random numbers" in str(refused.value)
        assert "draw(key, n)" in str(refused.value) and told in str(refused.value)


def test_names_that_only_look_random_are_not_refused(tmp_path: Path) -> None:  # R9.2
    path = tmp_path / "costs.py"
    path.write_text(
        "import numpy as np, numba\nfrom engine.models import draw\n\n@numba.njit\ndef random(key):\n    return draw(key, 0)\n\n"
        "def fill(price, qty, volume, half_spread, side, key):\n    return price * np.sqrt(1.0 + random(key))\n"
    )
    assert load_model(ModelKind.FILL, path, "fill").name == "costs.py:fill"


def no_number(notional: float, qty: float, maker: float) -> float:
    return math.nan


def none_to_leave(price: float, qty: float, volume: float, half_spread: float, side: float, key: int) -> float:
    return 0.0 if side > 0.0 else math.nan


def far_below(price: float, qty: float, volume: float, half_spread: float, side: float, key: int) -> float:
    return -price


def huge_to_leave(price: float, qty: float, volume: float, half_spread: float, side: float, key: int) -> float:
    return price if side > 0.0 else 1e300


@pytest.mark.parametrize(
    ("kind", "function", "said"),
    [
        (ModelKind.FEE, no_number, r"money of A overflows .*: execution\.models\.fee = no_number may have returned no number"),
        (
            ModelKind.SLIPPAGE,
            none_to_leave,
            r"a fill of A has no price above 0: execution\.models\.slippage = none_to_leave may have returned",
        ),
        (ModelKind.FILL, far_below, r"a fill of A has no price above 0: execution\.models\.fill = far_below may have returned"),
        (ModelKind.FILL, huge_to_leave, r"money of A overflows .*: execution\.models\.fill = huge_to_leave may have returned no number"),
    ],
)
def test_a_run_that_a_model_stops_names_the_model(kind: ModelKind, function: Callable[..., float], said: str) -> None:  # R2.7 R6.3
    chosen = settings(4, models=(compile_model(kind, function),))
    case = Case(market({"A": [FLAT] * 4}), table(propose(1), propose(2, Action.EXIT)), chosen)
    if function is far_below:  # Python has no whole number of NaN
        assert outcome_of(kernel_run, case) == outcome_of(oracle_run, case)
    with pytest.raises(ReplayError, match=said):
        kernel_run(case)


def stepped_fee(notional: float, qty: float, maker: float) -> float:
    return 0.5 + 0.0002 * notional if maker > 0.0 else 1.0 + 0.0007 * notional + 0.01 * qty


def noisy_slippage(price: float, qty: float, volume: float, half_spread: float, side: float, key: int) -> float:
    return 0.002 * draw(key, 0) + (min(0.1 * qty / volume, 0.2) if volume > 0.0 else 0.01)


def worst_fill(price: float, qty: float, volume: float, half_spread: float, side: float, key: int) -> float:
    return price * (1.0 + side * (2.0 * half_spread + 0.001 * draw(key, 1)))


def ratchet(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    if bars < 2.0:
        return stop
    return low * 0.99 if side > 0.0 else high * 1.01


OWN = {ModelKind.FEE: stepped_fee, ModelKind.SLIPPAGE: noisy_slippage, ModelKind.FILL: worst_fill, ModelKind.EXIT: ratchet}


@cache
def own(kind: ModelKind) -> Model:
    return compile_model(kind, OWN[kind])


@pytest.mark.parametrize("kinds", [(ModelKind.FEE,), (ModelKind.SLIPPAGE,), (ModelKind.FILL,), (ModelKind.EXIT,), tuple(OWN)])
@given(seed=st.integers(0, 2**31))
def test_models_act_as_the_oracle_says(seed: int, kinds: tuple[ModelKind, ...]) -> None:  # R2.8
    case = random_case(seed)
    models = tuple(own(kind) for kind in kinds)
    case = case._replace(settings=replace(case.settings, models=models, seed=seed))
    assert outcome_of(kernel_run, case) == outcome_of(oracle_run, case)


def divides(entry: Selected) -> float:
    return min(1.0 / (entry.score - entry.score), 5.0)


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="plain Python divides by zero as Python does")
def test_a_model_answers_outside_of_a_replay_as_inside() -> None:  # R2.8
    model = compile_model(ModelKind.SIZE, divides)
    assert answer(model.address, Selected(*(hint(2) for hint in Selected.__annotations__.values()))) == 5.0
