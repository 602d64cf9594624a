"""``@kernel``: the one numba configuration, and where compiled code is kept.

Numba's cache looks at a function's own file only, so an edit to a callee elsewhere would run old code.  Compiled code is therefore kept
in a folder named by the hash of all of the engine's sources: an edit anywhere is another folder.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config

F = TypeVar("F", bound=Callable[..., Any])


@cache
def cache_folder() -> Path:
    """Folder of the compiled engine, by version of its sources, Python and numba."""
    digest = hashlib.sha256(f"{sys.version_info[:3]} {numba.__version__}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    name = digest.hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "tapeline" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"tapeline-{os.getuid()}" / name
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def is_compiled() -> bool:
    """Whether an earlier run left the compiled engine behind, so that this one starts at once."""
    return bool(config.DISABLE_JIT) or any(cache_folder().rglob("*.nbc"))


def kernel(function: F) -> F:
    """Compile a function of stage two, to be inlined into its callers: a call costs more than most of them do."""
    return _compile(function, inline=True)


def shared(function: F) -> F:
    """Compile a function of stage two that many places call, and that keeps its own code."""
    return _compile(function, inline=False)


def _compile(function: F, *, inline: bool) -> F:
    """Strict IEEE arithmetic, no GIL, cached by the hash of the engine's sources."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())
    try:
        return cast(F, numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", forceinline=inline)(function))
    finally:
        config.CACHE_DIR = before
