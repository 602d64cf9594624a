"""Write docs/parity.md:  TAPELINE_DATA=... python -m tests.parity  (with vectorbt and backtesting installed: fresh signals too)."""

import os
import sys
from pathlib import Path

from tests.parity.report import page

if __name__ == "__main__":
    folder = os.environ.get("TAPELINE_DATA")
    if not folder:
        sys.exit("set TAPELINE_DATA to the folder of reference results")
    target = Path(__file__).parents[2] / "docs" / "parity.md"
    target.write_text(page(Path(folder) / "conformance"))
    print(f"written to {target}")
