"""The verbs of the command line.  Each is a few lines over what Python offers; everything heavy is imported inside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.console import guarded, print_json, progress, stderr, stdout

if TYPE_CHECKING:
    from pipeline.config import RunConfig
    from pipeline.result import Result

app = typer.Typer(
    name="tapeline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(help="Look at a dataset folder.", no_args_is_help=True)
app.add_typer(data, name="data")

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="a config file (YAML)")]
DatasetPath = Annotated[str, typer.Argument(metavar="DIR", help="a dataset folder, or a simulated market (demo://perps)")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="override a key of the config; may be repeated")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="folder that receives the run's folder (default: the config's out)")]
Jsonl = Annotated[bool, typer.Option("--ledger-jsonl", help="write the ledger as JSON lines as well")]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        stdout().print(f"tapeline {version('tapeline')}")
        raise typer.Exit


@app.callback()
def tapeline(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and leave")] = False,
) -> None:
    """Backtests in two stages: proposals computed ahead for all symbols, then an exact replay of events that cannot see the future."""


@app.command()
@guarded
def demo(json: Json = False, out: Out = None, overrides: Overrides = None, ledger_jsonl: Jsonl = False) -> None:
    """Run a trend strategy on a simulated market of perpetuals."""
    from pipeline.configfile import load_config

    config = load_config(Path(__file__).with_name("demo.yaml"), overrides or [])
    _run_and_show(config, out, json, ledger_jsonl)


@app.command()
@guarded
def run(
    config: ConfigPath,
    overrides: Overrides = None,
    symbol: Annotated[list[str] | None, typer.Option("--symbol", help="run these symbols alone; may be repeated")] = None,
    out: Out = None,
    ledger_jsonl: Jsonl = False,
    json: Json = False,
) -> None:
    """Run a config, print its summary, and write runs/<run_id>."""
    from pipeline.configfile import load_config

    checked = load_config(config, overrides or [])
    if symbol:
        checked = checked.model_copy(update={"symbols": list(dict.fromkeys(symbol))})
    _run_and_show(checked, out, json, ledger_jsonl)


def _run_and_show(config: "RunConfig", out: Path | None, json: bool, jsonl: bool) -> None:
    from pipeline.errors import ConfigError

    if jsonl and config.ledger == "off":
        raise ConfigError("--ledger-jsonl: ledger = off keeps no ledger to write; allowed with ledger: trades or full")
    _finish(_run(config, out, json), config, out, json, jsonl)


def _run(config: "RunConfig", out: Path | None, quiet: bool) -> "Result":
    from pipeline.launch import run as launch

    with progress(quiet) as tell:
        result = launch(config, store=Path(out or config.out) / "features", progress=tell)
        tell("figures")
        _ = result.summary
    return result


def _finish(result: "Result", config: "RunConfig", out: Path | None, json: bool, jsonl: bool) -> None:
    from pipeline.folder import save

    with progress(json) as tell:
        tell("writing")
        folder = save(result, out or config.out, jsonl)
    if json:
        print_json(dict(result.summary))
        return
    from pipeline.summary import show

    show(result.summary, stdout())
    stderr().print(f"written to {folder}", style="dim")


@app.command()
@guarded
def verify(run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")], json: Json = False) -> None:
    """Recompute a run's cash, positions and equity from its ledger alone, then replay it and compare."""
    from pipeline.verify import verify_run

    with progress(json) as tell:
        found = verify_run(run, tell)
    if json:
        print_json(found.as_dict())
        return
    for line in found.lines():
        stdout().print(line)


@app.command()
@guarded
def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")],
    trade: Annotated[str, typer.Option("--trade", metavar="N", help="number of the trade, as in trades.parquet")],
    json: Json = False,
) -> None:
    """One trade from its proposal to its exit, every price, size and amount worked out again."""
    from pipeline.explain import explain as tell_trade

    with progress(json) as tell:
        found = tell_trade(run, trade, tell)
    if json:
        print_json(found.as_dict())
        return
    for line in found.lines():
        stdout().print(line, soft_wrap=True, markup=False)


@app.command()
@guarded
def diff(
    left: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")],
    right: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of another")],
    json: Json = False,
) -> None:
    """Where two runs part, the decision behind it, and what each cause made of the difference."""
    from pipeline.diff import diff as compare

    with progress(json) as tell:
        found = compare(left, right, tell)
    if json:
        print_json(found.as_dict())
        return
    found.show(stdout())


@app.command()
@guarded
def sensitivity(
    config: ConfigPath,
    overrides: Overrides = None,
    capacity: Annotated[
        str | None, typer.Option("--capacity", metavar="1,2,5", help="also replay at these multiples of the account and of fixed sizes")
    ] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """The result with fees, slippage and spread, and funding at none and twice; with --capacity, in larger accounts."""
    from pipeline.configfile import load_config
    from pipeline.launch import run as launch
    from pipeline.sensitivity import parsed_multiples
    from pipeline.sensitivity import sensitivity as vary

    multiples = parsed_multiples(capacity) if capacity is not None else []
    checked = load_config(config, overrides or [])
    with progress(json) as tell:
        found = vary(launch(checked, store=Path(out or checked.out) / "features", progress=tell), multiples, tell)
    if json:
        print_json(found.as_dict())
        return
    found.show(stdout())


@app.command()
@guarded
def regret(run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")], json: Json = False) -> None:
    """In hindsight: what refused entries would have made alone, and what the best choice for the same slots would have."""
    from pipeline.regret import regret as look_back

    with progress(json) as tell:
        found = look_back(run, tell)
    if json:
        print_json(found.as_dict())
        return
    found.show(stdout())


@app.command()
@guarded
def certify(config: ConfigPath, overrides: Overrides = None, out: Out = None, json: Json = False) -> None:
    """Try to make the features of a config see the future, and keep the proof that they do not."""
    from pipeline.certify import certify_config
    from pipeline.configfile import load_config
    from pipeline.plural import plural

    checked = load_config(config, overrides or [])
    with progress(json) as tell:
        found = certify_config(checked, Path(out or checked.out) / "features", tell)
    if json:
        print_json(found)
        return
    stdout().print(
        f"{plural(found['features'], 'feature')} of {plural(found['strategies'], 'strategy', 'strategies')} on "
        f"{plural(found['symbols'], 'symbol')}: the past did not move by one bit"
    )
    stdout().print(
        f"{plural(found['cuts'], 'cut')}, after each of which the future was {', '.join(found['poisons'])}; dataset {found['dataset_id'][:16]}"
    )


@app.command()
@guarded
def ingest(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="a folder of Parquet or CSV files, or one file")],
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="the dataset folder to make")],
    layout: Annotated[str, typer.Option("--format", help="layout of the source")] = "tidy",
    interval: Annotated[str | None, typer.Option(help="length of bars (1h), where a file has one time a bar")] = None,
    venue: Annotated[str | None, typer.Option(help="the one venue to take (default: all)")] = None,
    kind: Annotated[str | None, typer.Option(help="kind of all instruments (default: inferred)")] = None,
    keep_crossed: Annotated[bool, typer.Option("--keep-crossed", help="keep quotes whose bid is above the ask, and count them")] = False,
    assume_utc: Annotated[bool, typer.Option("--assume-utc", help="take times without a zone as UTC")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a dataset at DEST")] = False,
    json: Json = False,
) -> None:
    """Read market data into a dataset folder; say what was read, and what is odd about it."""
    from pipeline.ingest import IngestOptions
    from pipeline.ingest import ingest as read

    options = IngestOptions(
        interval=interval, venue=venue, kind=kind, keep_crossed=keep_crossed, assume_utc=assume_utc, overwrite=overwrite
    )
    with progress(json) as tell:
        report = read(source, dest, layout, options, tell)
    if json:
        print_json(report.to_dict())
        return
    stdout().print(report.render())


@data.command()
@guarded
def info(path: DatasetPath, json: Json = False) -> None:
    """Series, ranges, gaps and oddities of a dataset, and its id."""
    from pipeline.demo import open_data
    from pipeline.inspect_data import info as describe
    from pipeline.inspect_data import render_info

    with progress(json) as tell:
        tell("reading")
        found = describe(open_data(path))
    if json:
        print_json(found.to_dict())
        return
    stdout().print(render_info(found))


@data.command()
@guarded
def check(path: DatasetPath, json: Json = False) -> None:
    """Verify the files of a dataset against their hashes, and their rows against the rules."""
    from pipeline.check_data import check as examine
    from pipeline.check_data import render_check

    with progress(json) as tell:
        tell("checking")
        report = examine(path)
    if json:
        print_json(report.to_dict())
    else:
        stdout().print(render_check(report))
    if not report.ok:
        raise typer.Exit(2)


@app.command()
@guarded
def schema() -> None:
    """Print the JSON schema of a config, and the order of events at one timestamp."""
    from engine.schema import EventKind
    from pipeline.config import RunConfig

    found = RunConfig.model_json_schema()
    print_json(found | {"x-event-priorities": {kind.name: int(kind) for kind in EventKind}})


@app.command()
@guarded
def bench(
    json: Json = False,
    workload: Annotated[
        list[str] | None, typer.Option("--workload", metavar="NAME", help="one workload, such as W1; may be repeated")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="timed rounds")] = 5,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="whether to measure memory, in a process for each contender")] = True,
) -> None:
    """Time whole runs against the peers that are installed (the bench extra)."""
    from pipeline.bench import main as measure

    measure(json=json, workloads=workload, repeat=repeat, memory=memory)
