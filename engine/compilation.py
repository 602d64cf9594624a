"""How numba compiles an entry and its parts: into one module, optimised once.

Numba by itself makes a library of each function, optimises it, generates its machine code, and does all of that again in each of its
callers, and for each width of integer that they pass.  Here the functions that an entry uses are compiled into the entry's own library, once
for all integers.  What an entry takes as settled is put in its place before the branches are pruned.
"""

import inspect
from collections import defaultdict
from collections.abc import Callable
from typing import Any, ClassVar

from numba.core import ir, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.ir_utils import find_const, guard
from numba.core.registry import CPUDispatcher
from numba.core.untyped_passes import IRProcessing

NUMBERS = {int: types.int64, float: types.float64, bool: types.boolean}


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
        self.parts = defaultdict[Part, dict[Any, Any]](dict)  # what was compiled of each, by argument types
        self.enable_object_caching()

    def finalize(self) -> None:
        for versions in self.parts.values():
            for made in versions.values():
                self._final_module.get_function(made.fndesc.llvm_func_name).linkage = "internal"
        super().finalize()


_under_way: list[_Library] = []


class Whole(_Settling):
    """Compiles an entry."""

    constants: ClassVar[dict[str, float]] = {}

    def compile_extra(self, function: Any) -> Any:
        """Open the library that its parts go into."""
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


class Part(CPUDispatcher):  # type: ignore[misc]
    """A function that entries are made of; in each entry it has code of its own."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(function, targetoptions=options, pipeline_class=_Inner)
        given = (function.__annotations__.get(name) for name in inspect.signature(function).parameters)
        self._numbers = [NUMBERS.get(one) if isinstance(one, type) else None for one in given]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as plain Python."""
        return self.py_func(*args, **kwargs)

    @property
    def overloads(self) -> dict[Any, Any]:
        """What the entry under way has of it."""
        return _under_way[-1].parts[self] if _under_way else {}

    @overloads.setter
    def overloads(self, _: Any) -> None:
        """Numba's own table stays unused."""

    def add_overload(self, made: Any) -> None:
        """Keep what was compiled."""
        self.overloads[tuple(made.signature.args)] = made

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """One version for all widths of integer, since each would be compiled anew."""
        _, folded = self._compiler.fold_argument_types(args, kws)
        return super().get_call_template(tuple(number or one for number, one in zip(self._numbers, folded, strict=True)), {})
