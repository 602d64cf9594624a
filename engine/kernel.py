"""``@kernel``, ``@shared``, ``@entry``: the one numba configuration, and where compiled code is kept.

A function that Python calls is an ``entry``; the functions it uses are compiled into it, as one module that is optimised once.  (Numba by
itself makes a library of each function, optimises it, generates its machine code, and does all of that again in each of its callers.)
Called from Python, those functions run as plain Python.

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
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numba
from numba.core import config, ir, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.ir_utils import find_const, guard
from numba.core.registry import CPUDispatcher
from numba.core.untyped_passes import IRProcessing

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


def entry(function: F) -> F:
    """Compile a function that Python calls, with all that it calls."""
    return _njit(function, _Whole)


def entry_with(**constants: float) -> Callable[[F], F]:
    """Compile such a function for records whose fields of these names hold these values: what they rule out is left out."""
    return lambda function: _njit(function, type("_Settled", (_Whole,), {"constants": constants}))


def kernel(function: F) -> F:
    """Compile a function of stage two into its callers, inlined: a call costs more than most of them do."""
    return function if config.DISABLE_JIT else cast(F, _Part(function, _options(forceinline=True)))


def shared(function: F) -> F:
    """Compile a function of stage two that many places call into their module, where it keeps its own code."""
    return function if config.DISABLE_JIT else cast(F, _Part(function, _options(forceinline=False)))


def pointer(function: Callable[..., Any], signature: Any) -> Any:
    """Compile a function that is called by its address, with the same arithmetic; None where nothing is compiled."""
    return None if config.DISABLE_JIT else numba.cfunc(signature, fastmath=False, error_model="numpy")(function)


def _options(**more: bool) -> dict[str, Any]:
    """Strict IEEE arithmetic, no GIL."""
    return {"nopython": True, "nogil": True, "fastmath": False, "error_model": "numpy", **more}


def _njit(function: F, pipeline: type[Compiler]) -> F:
    """A function of a library of its own, cached by the hash of the engine's sources."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())
    try:
        return cast(F, numba.jit(cache=True, pipeline_class=pipeline, **_options())(function))
    finally:
        config.CACHE_DIR = before


@register_pass(mutates_CFG=False, analysis_only=False)
class _Settle(FunctionPass):  # type: ignore[misc]
    """Puts its constant in the place of each field that the entry under way takes as settled."""

    _name = "settle"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        constants, code = state.library.constants, state.func_ir
        for block in code.blocks.values() if constants else ():
            for assigned in block.find_insts(ir.Assign):
                if isinstance(assigned.value, ir.Expr) and assigned.value.op == "getitem":
                    name = guard(find_const, code, assigned.value.index)
                    if isinstance(name, str) and name in constants:
                        assigned.value = ir.Const(constants[name], assigned.loc)
                        code._definitions[assigned.target.name] = [assigned.value]
        return bool(constants)


class _Settling(Compiler):  # type: ignore[misc]
    """Numba's own compiler, with that pass before its branches are pruned."""

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_Settle, IRProcessing)
        passes.finalize()
        return [passes]


class _Library(JITCodeLibrary):  # type: ignore[misc]
    """The code of an entry, whose parts nobody else sees, so that nothing is kept of what was inlined."""

    def __init__(self, codegen: Any, name: str, constants: dict[str, float]) -> None:
        super().__init__(codegen, name)
        self.constants = constants
        self.parts = defaultdict[_Part, dict[Any, Any]](dict)  # what was compiled of each, by argument types
        self.enable_object_caching()

    def finalize(self) -> None:
        for versions in self.parts.values():
            for made in versions.values():
                self._final_module.get_function(made.fndesc.llvm_func_name).linkage = "internal"
        super().finalize()


_under_way: list[_Library] = []


class _Whole(_Settling):
    """Compiles an entry."""

    constants: ClassVar[dict[str, float]] = {}

    def compile_extra(self, function: Any) -> Any:
        self.state.library = _Library(self.state.targetctx.codegen(), function.__qualname__, self.constants)
        _under_way.append(self.state.library)
        try:
            return super().compile_extra(function)
        finally:
            _under_way.pop()


class _Inner(_Settling):
    """Compiles a part into the entry under way."""

    def compile_extra(self, function: Any) -> Any:
        flags = self.state.flags
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
        self.state.library = _under_way[-1]
        made = super().compile_extra(function)
        key = object()
        self.state.targetctx.insert_user_function(key, made.fndesc)
        return made._replace(entry_point=key)


_NUMBERS = {int: types.int64, float: types.float64, bool: types.boolean}


class _Part(CPUDispatcher):  # type: ignore[misc]
    """A function that entries are made of; in each entry it has code of its own."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(function, targetoptions=options, pipeline_class=_Inner)
        given = (function.__annotations__.get(name) for name in inspect.signature(function).parameters)
        self._numbers = [_NUMBERS.get(one) if isinstance(one, type) else None for one in given]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.py_func(*args, **kwargs)

    @property
    def overloads(self) -> dict[Any, Any]:
        return _under_way[-1].parts[self] if _under_way else {}

    @overloads.setter
    def overloads(self, _: Any) -> None:
        """Numba's own table stays unused."""

    def add_overload(self, made: Any) -> None:
        self.overloads[tuple(made.signature.args)] = made

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """One version for all widths of integer, since each would be compiled anew."""
        _, folded = self._compiler.fold_argument_types(args, kws)
        return super().get_call_template(tuple(number or one for number, one in zip(self._numbers, folded, strict=True)), {})
