"""From files to a dataset folder: ``ingest(source, dest)``.

1. ``sources`` finds the files and refuses what is not what its name says; ``roles`` tells what each holds.
2. ``tables`` reads each in batches (``times``, ``values``, ``actions`` check them) into pieces on disk, ``spill``.
3. ``merge`` and ``assemble`` join the pieces of each series and write them; ``specs`` infers the instruments.
4. ``report`` says what was read, what was made of it, and what is odd about it.

Nothing is at the destination until all of it is.
"""

from pathlib import Path

from engine.dataset import DatasetError
from pipeline.ingest.options import IngestOptions
from pipeline.ingest.report import FileReport, IngestReport
from pipeline.progress import Progress, silent

__all__ = ["FORMATS", "FileReport", "IngestOptions", "IngestReport", "ingest"]

FORMATS = ("tidy",)


def ingest(
    source: str | Path,
    dest: str | Path,
    format: str = "tidy",  # noqa: A002 the word of the command line
    options: IngestOptions | None = None,
    progress: Progress = silent,
) -> IngestReport:
    """Read a source and write it as a dataset folder.

    Parameters
    ----------
    source
        A folder of Parquet and CSV files, or one file.
    dest
        The dataset folder to make.
    format
        Layout of the source: ``tidy``, one table a kind with named columns.
    options
        Choices the files do not make.
    progress
        Told which file is read, which series is written, and how many there are.

    Raises
    ------
    DatasetError
        The source is refused; the message names file, row, column, value, rule and mend, and nothing is at ``dest``.
    """
    if format not in FORMATS:
        raise DatasetError(f"format {format!r}: allowed are {', '.join(FORMATS)}")
    from pipeline.ingest.tidy import ingest_tidy

    return ingest_tidy(Path(source), Path(dest), options or IngestOptions(), progress)
