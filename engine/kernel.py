"""``@kernel``: the one numba configuration, and where compiled code is kept.

Numba's cache looks at a function's own file only, so an edit to a callee elsewhere would run old code.  Compiled code is therefore kept
in a folder named by the hash of all of the engine's sources: an edit anywhere is another folder.
"""

import atexit
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config

F = TypeVar("F", bound=Callable[..., Any])

_complete: set[Path] = set()  # folders seen to hold the compiled replay


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
        folder = private_folder(Path(tempfile.gettempdir()) / f"tapeline-{os.getuid()}") / name
        folder.mkdir(exist_ok=True)
    return folder


def private_folder(path: Path) -> Path:
    """A folder in a place that others can write to as well: ours and closed to them, since compiled code is run from it.

    Where the path is somebody else's, or open to others, a new folder with a name of its own takes its place.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return _new_folder(path)
    found = path.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return path if ours else _new_folder(path)


def _new_folder(path: Path) -> Path:
    folder = tempfile.mkdtemp(prefix=f"{path.name}-", dir=path.parent)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def compiles() -> bool:
    """Whether numba compiles at all, or everything runs as plain Python."""
    return not config.DISABLE_JIT


def is_compiled() -> bool:
    """Whether an earlier run left the compiled replay behind, so that this one starts at once."""
    return not compiles() or _left_behind(cache_folder())


def _left_behind(folder: Path) -> bool:
    if folder not in _complete and any(folder.rglob("replay.replay-*.nbc")):
        _complete.add(folder)
    return folder in _complete


def kernel(function: F) -> F:
    """Compile a function of stage two, to be inlined into its callers: a call costs more than most of them do."""
    return _compile(function, inline=True)


def shared(function: F) -> F:
    """Compile a function of stage two that many places call, and that keeps its own code."""
    return _compile(function, inline=False)


def pointer(function: Callable[..., Any], signature: Any) -> Any:
    """Compile a function that is called by its address, with the same arithmetic; None where nothing is compiled."""
    return None if config.DISABLE_JIT else numba.cfunc(signature, fastmath=False, error_model="numpy")(function)


def _compile(function: F, *, inline: bool) -> F:
    """Strict IEEE arithmetic, no GIL, cached by the hash of the engine's sources."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())
    try:
        return cast(F, numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", forceinline=inline)(function))
    finally:
        config.CACHE_DIR = before
