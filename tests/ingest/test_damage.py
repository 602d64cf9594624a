"""A damaged file is refused or read as a sound dataset; nothing else happens, whatever its bytes."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.dataset import DatasetError
from pipeline.check_data import check
from pipeline.ingest import IngestOptions, ingest
from tests.ingest.tables import T0_MS, bars, funding, quotes

TABLES: dict[str, dict[str, list[Any]]] = {
    "bars": bars(20),
    "quotes": quotes(10),
    "funding": funding(3),
    "actions": {
        "symbol": ["AAA"] * 2,
        "ts": [T0_MS, T0_MS + 1],
        "kind": ["split", "dividend"],
        "ratio": [0.5, None],
        "amount": [None, 1.0],
    },
    "spread": {"symbol": ["AAA"] * 2, "ts": [T0_MS] * 2, "bid": [1.0, 1.0], "ask": [2.0, 2.0]},
}
edits = st.tuples(
    st.floats(0, 1, exclude_max=True), st.integers(0, 30), st.binary(max_size=6) | st.sampled_from([b"nan", b"-1", b",", b'"', b"\n"])
)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@given(victim=st.sampled_from(sorted(TABLES)), changes=st.lists(edits, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes_are_refused_or_sound(suffix: str, victim: str, changes: list[tuple[float, int, bytes]], tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir(exist_ok=True)
    for name, table in TABLES.items():
        frame = pl.DataFrame(table)
        frame.write_csv(root / f"{name}.csv") if suffix == "csv" else frame.write_parquet(root / f"{name}.parquet")
    path = root / f"{victim}.{suffix}"
    content = path.read_bytes()
    for place, dropped, added in changes:
        at = int(place * len(content))
        content = content[:at] + added + content[at + dropped :]
    path.write_bytes(content)
    problems, refused = _ingested(root, tmp_path / "d")
    assert problems == () and "\n" not in refused
    assert {entry.name for entry in tmp_path.iterdir()} <= {"source", "d"}


def _ingested(root: Path, dest: Path) -> tuple[tuple[str, ...], str]:
    """Problems of the dataset that was made, or why none was."""
    try:
        ingest(root, dest, options=IngestOptions(overwrite=True))
    except DatasetError as error:
        return (), str(error)
    return check(dest).problems, ""
