"""The command line: what it prints, what it leaves behind, and how it ends."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from engine.dataset import write_folder
from pipeline.cli import main
from pipeline.console import guarded
from pipeline.demo import build
from pipeline.verbs import app

CONFIG = """
name: small
dataset: demo://perps?symbols=2&days=30&interval=1h&seed=3
strategies:
  - id: trend
    features: {fast: {ema: {of: close, n: 5}}, slow: {ema: {of: close, n: 20}}}
    propose: {long: "cross_up(fast, slow)", exit_long: "fast < slow"}
execution: {fees: {bps: 5}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(CONFIG)
    return tmp_path


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def runs(folder: Path) -> list[Path]:
    return [path for path in (folder / "runs").glob("*") if path.name != "features"] if (folder / "runs").exists() else []


def test_run_prints_one_object_writes_the_folder_and_verifies(folder: Path) -> None:
    done = call("run", "c.yaml", "--json", "--set", "risk.size.fixed_fraction=0.2", "--ledger-jsonl")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert [path.name for path in runs(folder)] == [summary["run_id"]]
    assert (runs(folder)[0] / "ledger.jsonl").exists()
    verified = call("verify", str(runs(folder)[0]), "--json")
    assert verified.exit_code == 0, verified.output
    assert json.loads(verified.stdout)["result_hash"] == summary["result_hash"]


def test_the_version_is_that_of_the_package() -> None:
    done = call("--version")
    assert done.exit_code == 0
    assert done.stdout == f"tapeline {version('tapeline')}\n"


def test_a_run_refuses_a_dataset_whose_file_was_changed(folder: Path) -> None:
    write_folder(build("demo://perps?symbols=2&days=30&interval=1h&seed=3"), folder / "d")
    assert call("run", "c.yaml", "--set", "dataset=d").exit_code == 0
    path = folder / "d" / "bars.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = call("run", "c.yaml", "--set", "dataset=d", "--out", "there")
    assert done.exit_code == 2
    assert "bars.arrow" in done.output and "the file was changed; ingest the source again" in done.output.replace("\n", " ")
    assert not (folder / "there").exists()


def test_the_same_run_again_is_the_same_folder(folder: Path) -> None:
    first, second = (json.loads(call("run", "c.yaml", "--json").stdout) for _ in range(2))
    assert first["result_hash"] == second["result_hash"]
    assert len(runs(folder)) == 1


def test_the_summary_shows_figures_and_notices(folder: Path) -> None:
    shown = call("run", "c.yaml", "--out", "elsewhere").output
    for text in (
        "SIMULATED DATA",
        "Sharpe (365/y)",
        "buy and hold",
        "maximum drawdown",
        "fees",
        "funding",
        "profit by",
        "! simulated data",
    ):
        assert text in shown
    assert not runs(folder)
    assert (folder / "elsewhere").is_dir()


def test_one_symbol(folder: Path) -> None:
    summary = json.loads(call("run", "c.yaml", "--json", "--symbol", "ALFAUSDT").stdout)
    assert list(summary["profit_by_symbol"]) == ["ALFAUSDT"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "absent.yaml"], "absent.yaml: no such file"),
        (["run", "c.yaml", "--set", "risk.halts.drawdwon=1"], "did you mean 'drawdown'"),
        (["run", "c.yaml", "--symbol", "ALFAUSD"], "did you mean 'ALFAUSDT'"),
        (["run", "c.yaml", "--set", "dataset=nowhere"], "nowhere"),
        (["run", "c.yaml", "--set", "dataset=demo://perps?symbls=2"], "symbls"),
        (["run", "c.yaml", "--set", "strategies.trend.propose.long=clos > open"], "clos"),
        (["run", "c.yaml", "--set", "strategies.trend.propose.long=9**9**9"], "trend"),
        (["run", "c.yaml", "--set", "strategies.trend.features.fast={emma: {n: 5}}"], "emma"),
        (["run", "c.yaml", "--ledger-jsonl", "--set", "ledger=off"], "ledger = off keeps no ledger"),
        (["verify", "nowhere"], "not the folder of a run"),
        (["explain", "nowhere", "--trade", "1"], "not the folder of a run"),
        (["explain", "nowhere"], "--trade"),
        (["diff", "nowhere", "nowhere"], "not the folder of a run"),
        (["diff", "nowhere"], "RUN"),
        (["regret", "nowhere"], "not the folder of a run"),
        (["sensitivity", "absent.yaml"], "no such file"),
        (["sensitivity", "c.yaml", "--capacity", "1;2"], "--capacity 1;2: must be numbers"),
        (["certify", "absent.yaml"], "no such file"),
        (["ingest", "nowhere", "there"], "nowhere"),
        (["data", "info", "nowhere"], "nowhere"),
        (["data", "check", "nowhere"], "nowhere"),
        (["fly"], "fly"),
        (["run"], "CONFIG"),
    ],
)
def test_bad_input_is_one_message_and_status_2_and_writes_nothing(folder: Path, words: list[str], said: str) -> None:
    done = call(*words)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output
    assert not runs(folder)
    assert not (folder / "there").exists()


def test_an_interrupt_is_status_130_and_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.session.Session.run", interrupted)
    done = call("run", "c.yaml")
    assert done.exit_code == 130
    assert "interrupted" in done.output
    assert not runs(folder)


def test_an_interrupt_before_the_verb_began_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.verbs.app", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "tapeline: interrupted\n"


def test_a_defect_is_one_line_without_a_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TypeError("not like this")

    monkeypatch.setattr("engine.session.Session.run", broken)
    monkeypatch.delenv("TAPELINE_DEBUG", raising=False)
    done = call("run", "c.yaml")
    assert done.exit_code == 1
    assert "TypeError: not like this" in done.output
    assert "Traceback" not in done.output


def test_debugging_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    @guarded
    def broken() -> None:
        raise TypeError("here")

    monkeypatch.setenv("TAPELINE_DEBUG", "1")
    with pytest.raises(TypeError, match="here"):
        broken()


def test_certify_tells_what_it_tried(folder: Path) -> None:
    found = json.loads(call("certify", "c.yaml", "--json").stdout)
    assert found["features"] >= 2
    assert found["cuts"] > 0
    assert "nan" in found["poisons"]
    assert "did not move by one bit" in call("certify", "c.yaml").output


def test_a_trade_is_explained_in_words_and_as_one_object(folder: Path) -> None:
    summary = json.loads(call("run", "c.yaml", "--json").stdout)
    where = str(runs(folder)[0])
    told = call("explain", where, "--trade", "1")
    assert told.exit_code == 0, told.output
    for text in ("trade 1 of run", "proposal", "rank", "size", "order", "entry", "half-spread", "exit", "result", "net"):
        assert text in told.output
    plain = json.loads(call("explain", where, "--trade", "1", "--json").stdout)
    assert plain["result"]["units"]["net"] == sum(plain["result"]["units"][name] for name in ("gross", "fees", "funding"))
    assert call("explain", where, "--trade", str(summary["trades"]), "--json").exit_code == 0
    beyond = call("explain", where, "--trade", str(summary["trades"] + 1))
    assert beyond.exit_code == 2 and "no such trade" in beyond.output


def test_two_runs_are_compared_in_words_and_as_one_object(folder: Path) -> None:
    first, second = (json.loads(call("run", "c.yaml", "--json", "--set", f"execution.fees.bps={bps}").stdout) for bps in (5, 9))
    left, right = (str(folder / "runs" / run["run_id"]) for run in (first, second))
    told = call("diff", left, right).output
    for text in ("execution.fees.bps: 5.0 | 9.0", "the ledgers part at record", "because", "fees", "all"):
        assert text in told
    plain = json.loads(call("diff", left, right, "--json").stdout)
    assert plain["identical"] is False
    assert plain["config"] == [{"path": "execution.fees.bps", "left": 5.0, "right": 9.0}]
    assert plain["units"]["difference"] == sum(plain["units"]["causes"].values())
    assert plain["difference"] == pytest.approx(second["final_equity"] - first["final_equity"])
    itself = call("diff", left, left)
    assert itself.exit_code == 0 and "identical" in itself.output
    assert json.loads(call("diff", left, left, "--json").stdout)["first_difference"] is None


def test_costs_are_varied_in_a_table_and_as_one_object(folder: Path) -> None:
    told = call("sensitivity", "c.yaml", "--capacity", "1,10").output
    for text in ("as configured", "fees x 0", "slippage and spread x 2", "funding x 0", "all of them x 2", "no impact is modelled", "x 10"):
        assert text in told
    plain = json.loads(call("sensitivity", "c.yaml", "--set", "execution.fees.bps=9", "--json").stdout)
    assert len(plain["costs"]) == 9 and plain["capacity"] == []
    assert not runs(folder)  # nothing but features is written


def test_regret_is_told_in_words_and_as_one_object(folder: Path) -> None:
    call("run", "c.yaml", "--set", "selector.max_positions=1")
    where = str(runs(folder)[0])
    told = call("regret", where).output
    for text in ("every entry alone", "not_selected", "a chance choice", "hindsight"):
        assert text in told
    plain = json.loads(call("regret", where, "--json").stdout)
    assert plain["selector"]["regret"] >= 0 and plain["hindsight"] is True


def test_ingest_info_and_check(folder: Path) -> None:
    rows = "\n".join(f"2024-01-01T{hour + 1:02d}:00:00Z,X,1,2,0.5,1.5,10" for hour in range(6))
    (folder / "raw").mkdir()
    (folder / "raw" / "bars.csv").write_text(f"ts,symbol,open,high,low,close,volume\n{rows}\n")
    made = call("ingest", "raw", "made", "--interval", "1h", "--json")
    assert made.exit_code == 0, made.output
    told = call("data", "info", "made", "--json")
    assert json.loads(told.stdout)["id"] == json.loads(made.stdout)["id"]
    assert call("data", "info", "made").exit_code == 0
    assert json.loads(call("data", "check", "made", "--json").stdout)["ok"] is True
    assert "sound" in call("data", "check", "made").output


def test_info_and_check_of_a_simulated_market(folder: Path) -> None:
    address = "demo://perps?symbols=2&days=3"
    assert "SIMULATED data" in call("data", "info", address).output
    told = json.loads(call("data", "info", address, "--json").stdout)
    assert told["simulated"] is True and len(told["symbols"]) == 2
    checked = call("data", "check", address)
    assert checked.exit_code == 0 and "SIMULATED data" in checked.output
    wrong = call("data", "info", "demo://perps?symbls=2")
    assert wrong.exit_code == 2 and "did you mean 'symbols'" in wrong.output


def test_the_schema_is_json_schema_with_the_order_of_events() -> None:  # R1.2
    schema = json.loads(call("schema").stdout)
    assert "execution" in schema["properties"]
    assert schema["x-event-priorities"]["BAR_PATH"] == 0
    assert schema["x-event-priorities"]["BAR_OPEN"] == 10


def test_help_lists_verbs_that_work_and_no_others() -> None:
    shown = call("--help").output
    for verb in ("demo", "ingest", "data", "certify", "run", "verify", "explain", "diff", "sensitivity", "regret", "schema", "bench"):
        assert verb in shown
    for verb in ("sweep", "walkforward", "report"):
        assert f" {verb} " not in shown


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_and_the_command_line_loads_nothing_heavy() -> None:
    heavy = {"numba", "polars", "pyarrow", "pydantic", "numpy", "numexpr", "joblib"}
    assert not modules_after("import pipeline") & heavy
    assert not modules_after("import pipeline.verbs") & heavy


def test_the_function_run_is_not_hidden_by_a_module_of_its_name() -> None:
    modules_after("import pipeline, pipeline.launch, pipeline.cli, pipeline.folder; assert callable(pipeline.run)")
