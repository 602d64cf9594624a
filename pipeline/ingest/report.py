"""What an ingest tells: files, what was made of them, and what is odd about the data."""

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.inspect_data import DatasetInfo, render_info


@dataclass(frozen=True)
class FileReport:
    """One file of the source: its kind (empty: not used), its rows, and what reading it showed."""

    file: str
    kind: str
    rows: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes
    ----------
    dest, id
        The dataset folder and its content id.
    files
        One entry a file of the source.
    notes
        What was settled across files: names, joins, instruments.
    info
        The dataset as it is now.
    """

    dest: str
    id: str
    files: tuple[FileReport, ...]
    notes: tuple[str, ...]
    info: DatasetInfo

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def render(self) -> Any:
        """A renderable of rich."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text  # names of files are no markup

        files = Table("file", "kind", "rows", "read as", title="Source")
        for file in self.files:
            files.add_row(Text(file.file), file.kind or "-", f"{file.rows:,}" if file.kind else "", Text("\n".join(file.notes)))
        return Group(files, *(Text(f"- {note}") for note in self.notes), render_info(self.info, notes=False))
