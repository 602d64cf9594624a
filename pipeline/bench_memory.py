"""Peak memory of one contender on one workload, in a process of its own.

The process imports everything and compiles on a small market, draws the market, lets go of what drawing it took, and notes what it
holds; the figure is the most it held during one whole run beyond that.  Linux tells both (``/proc/self``).

``python -m pipeline.bench_memory CONTENDER WORKLOAD BARS`` prints ``{"peak_mb": ..., "certificate_mb": ...}``.
"""

import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable
from json import dumps, loads
from pathlib import Path

from pipeline.bench_workloads import WORKLOADS, Market, Prepared, Workload, market, prepare

SMALL = 300  # bars a symbol of the market that it warms up on
OURS = "tapeline"


def measure(contender: str, workload: Workload) -> dict[str, float]:
    """Run this module on a contender; ``peak_mb``, and ``certificate_mb`` where it certifies.

    Raises
    ------
    RuntimeError
        If the process failed; the message ends in its last words.
    """
    command = [sys.executable, "-m", "pipeline.bench_memory", contender, workload.name, str(workload.bars)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise RuntimeError(f"memory of {contender} on {workload.name}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    found: dict[str, float] = loads(done.stdout.splitlines()[-1])
    return found


def preparation(contender: str) -> Callable[[Workload, Market], Prepared]:
    """What lays a market out for a contender."""
    from pipeline.bench_peers import PEERS

    return prepare if contender == OURS else PEERS[contender].prepare


def main(contender: str, workload: Workload) -> dict[str, float]:
    """Measure in this process."""
    lay_out, found = preparation(contender), dict[str, float]()
    small = workload.with_bars(SMALL)
    warm = lay_out(small, market(small))
    if warm.certify:
        warm.certify()
    warm.run()
    prepared = lay_out(workload, market(workload))
    del warm
    if prepared.certify:
        found["certificate_mb"] = peak_mb(prepared.certify)
    return {"peak_mb": peak_mb(prepared.run)} | found


def peak_mb(run: Callable[[], object]) -> float:
    """Most memory that a call holds beyond what is held before it, in MB (10**6 bytes)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
    before = _held("VmRSS")
    run()
    return round((_held("VmHWM") - before) * 1024 / 1e6, 1)


def _held(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    sys.stdout.write(dumps(main(sys.argv[1], WORKLOADS[sys.argv[2]].with_bars(int(sys.argv[3])))) + "\n")
