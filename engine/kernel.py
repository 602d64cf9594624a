"""``@kernel``, ``@shared``, ``@entry``: the one numba configuration, and where compiled code is kept.

A function that Python calls is an ``entry``; the functions it uses are compiled into it (``compilation``).  Called from Python, those run as
plain Python.

Numba's cache looks at a function's own file only, so an edit to a callee elsewhere would run old code.  Compiled code is therefore kept
in a folder named by the hash of all of the engine's sources: an edit anywhere is another folder.
"""

import atexit
import hashlib
import inspect
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

from engine.compilation import NUMBERS, Part, Whole

F = TypeVar("F", bound=Callable[..., Any])

_complete: set[tuple[Path, str]] = set()  # folders seen to hold the code of an entry


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


def is_compiled(function: Callable[..., Any]) -> bool:
    """Whether an earlier run left an entry's code behind, so that this one starts at once."""
    return not compiles() or _left_behind(cache_folder(), f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}")


def _left_behind(folder: Path, name: str) -> bool:
    if (folder, name) not in _complete and any(folder.rglob(f"{name}-*.nbc")):
        _complete.add((folder, name))
    return (folder, name) in _complete


def prepare(function: Any) -> None:
    """Compile an entry, or load its code, for the types that it declares."""
    if compiles():
        declared = [function.__annotations__[name] for name in inspect.signature(function).parameters]
        function.compile(tuple(NUMBERS.get(one) or one._numba_type_ for one in declared))


def entry(function: F) -> F:
    """Compile a function that Python calls, with all that it calls."""
    return _njit(function, Whole)


def entry_with(**constants: float) -> Callable[[F], F]:
    """Compile such a function for records whose fields of these names hold these values: what they rule out is left out."""
    return lambda function: _njit(function, type("_Settled", (Whole,), {"constants": constants}))


def kernel(function: F) -> F:
    """Compile a function of stage two into its callers, inlined: a call costs more than most of them do."""
    return function if config.DISABLE_JIT else cast(F, Part(function, _options(forceinline=True)))


def shared(function: F) -> F:
    """Compile a function of stage two that many places call into their module, where it keeps its own code."""
    return function if config.DISABLE_JIT else cast(F, Part(function, _options(forceinline=False)))


def pointer(function: Callable[..., Any], signature: Any) -> Any:
    """Compile a function that is called by its address, with the same arithmetic; None where nothing is compiled."""
    return None if config.DISABLE_JIT else numba.cfunc(signature, fastmath=False, error_model="numpy")(function)


def _options(**more: bool) -> dict[str, Any]:
    """Strict IEEE arithmetic, no GIL."""
    return {"nopython": True, "nogil": True, "fastmath": False, "error_model": "numpy", **more}


def _njit(function: F, pipeline: type[Whole]) -> F:
    """A function of a library of its own, cached by the hash of the engine's sources."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())
    try:
        return cast(F, numba.jit(cache=True, pipeline_class=pipeline, **_options())(function))
    finally:
        config.CACHE_DIR = before
