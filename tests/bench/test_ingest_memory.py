"""Ingest takes bounded memory: 20 million bars stay under 4 GB, and fewer under their share of it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

BARS = int(os.environ.get("TAPELINE_INGEST_BARS", "1_000_000"))  # 20_000_000 by hand
FIXED, PER_BAR = 400e6, 180.0  # bytes: the libraries and what is read at one time; 4 GB at 20 million bars
CHUNK = 500_000
MINUTE_US = 60_000_000

INGEST = """
import sys
from pathlib import Path
from pipeline.ingest import ingest
report = ingest(sys.argv[1], sys.argv[2])
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(sum(file.rows for file in report.files), int(peak.split()[1]) * 1024)
"""


def write_source(path: Path, symbols: int, bars: int) -> None:
    """One Parquet file; the rows of all symbols in time order, so that no symbol lies in one piece."""
    writer = None
    for first in range(0, bars, CHUNK):
        row = np.arange(first, min(first + CHUNK, bars))
        close = np.round(100.0 + 10.0 * np.sin(row / 5e4) + row % 7 / 100.0, 2)
        ts = 1_600_000_020_000_000 + (row // symbols + 1) * MINUTE_US
        table = pl.DataFrame(
            {
                "symbol": [f"S{code:02d}" for code in (row % symbols).tolist()],
                "open_time": pl.Series(ts - MINUTE_US).cast(pl.Datetime("us", "UTC")),
                "ts": pl.Series(ts).cast(pl.Datetime("us", "UTC")),
                "open": close,
                "high": close + 0.05,
                "low": close - 0.05,
                "close": close,
                "volume": (row % 1_000) / 10.0,
            }
        ).to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc; ru_maxrss would count the parent")
@pytest.mark.parametrize("symbols", [1, 20])
def test_ingest_stays_under_its_share_of_four_gigabytes(tmp_path: Path, symbols: int) -> None:
    (tmp_path / "source").mkdir()
    write_source(tmp_path / "source" / "bars.parquet", symbols, BARS)
    command = [sys.executable, "-c", INGEST, str(tmp_path / "source"), str(tmp_path / "dest")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows, peak = map(int, done.stdout.split())
    assert rows == BARS
    assert peak < FIXED + PER_BAR * BARS, f"{peak / 1e6:,.0f} MB for {BARS:,} bars of {symbols} symbols"
