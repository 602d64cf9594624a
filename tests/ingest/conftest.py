"""Small sources on disk, written by each test as it needs them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.ingest.tables import Write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def write(root: Path) -> Write:
    """Write a table below the source; the suffix of the name decides the format."""

    def write(name: str, table: Mapping[str, Any] | pl.DataFrame) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = table if isinstance(table, pl.DataFrame) else pl.DataFrame(table)
        if path.suffix == ".csv":
            frame.write_csv(path)
        else:
            frame.write_parquet(path)
        return path

    return write
