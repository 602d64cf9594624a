"""The tidy layout: the order of work of an ingest."""

from pathlib import Path

from engine.dataset import open_dataset
from engine.dataset_writer import FolderWriter
from pipeline.ingest.assemble import Assembly
from pipeline.ingest.options import IngestOptions
from pipeline.ingest.refusal import refusal
from pipeline.ingest.report import FileReport, IngestReport
from pipeline.ingest.roles import recognise
from pipeline.ingest.sources import Source, find_sources
from pipeline.ingest.specs import nearest, override, read_overrides
from pipeline.ingest.spill import Piece, Spill
from pipeline.ingest.tables import FileReader
from pipeline.inspect_data import info
from pipeline.progress import Progress

TRADES = "single trades are not used: a dataset holds bars and quotes"
OTHER = "not Parquet, CSV or instruments.json: not used"


def ingest_tidy(root: Path, dest: Path, options: IngestOptions, progress: Progress) -> IngestReport:
    """Read all files, then write all series."""
    sources, aside = find_sources(root)
    overrides = read_overrides(root)
    with FolderWriter(dest, options.overwrite) as writer:
        spill = Spill(writer.temporary / "pieces")
        files = []
        for done, source in enumerate(sources):
            progress(f"reading {source.name}", done, len(sources))
            files.append(_read(source, spill, options))
        pieces = _chosen(root, spill, options)
        assembly = Assembly(pieces, writer, options, progress)
        specs = assembly.write()
        override("instruments.json", specs, overrides)
        override("options", specs, options.instruments)
        spill.remove()
        files += [FileReport(name, "", 0, (OTHER,)) for name in aside]
        notes = [*assembly.notes, f"instruments are inferred where not given: {_kinds(specs)}"]
        told = [f"{file.file}: {note}" for file in files for note in file.notes]
        identity = writer.finish(specs, {"source": root.name, "notes": told + notes})
    return IngestReport(str(dest), identity, tuple(files), tuple(notes), info(open_dataset(dest)))


def _read(source: Source, spill: Spill, options: IngestOptions) -> FileReport:
    role = recognise(source)
    if role is None:
        return FileReport(source.name, "", 0, (TRADES,))
    reader = FileReader(source, role, options)
    reader.read_into(spill)
    return FileReport(source.name, role.kind, reader.rows, tuple(reader.told()))


def _chosen(root: Path, spill: Spill, options: IngestOptions) -> list[Piece]:
    if options.venue is not None and options.venue not in spill.venues:
        near = nearest(options.venue, spill.venues)
        raise refusal(
            str(root), f"no rows of venue '{options.venue}'{near}", f"venues are {', '.join(sorted(spill.venues)) or 'not given'}"
        )
    if not spill.pieces:
        raise refusal(str(root), "no file in it holds bars, quotes or other kinds", "give the folder that holds the data")
    return list(spill.pieces.values())


def _kinds(specs: dict[str, dict[str, object]]) -> str:
    kinds = sorted({str(spec["kind"]) for spec in specs.values()})
    return ", ".join(f"{sum(spec['kind'] == kind for spec in specs.values())} {kind}" for kind in kinds) or "none"
