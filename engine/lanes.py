"""Four numbers at a time, in one register of the processor: arithmetic on four columns side by side.

Each number goes through just the operations that it would go through alone, so it has the same bits.  In plain Python lanes are an array of
four.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload, register_model
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Four = tuple[Floats, Floats, Floats, Floats]

WIDTH = 4


class _LanesType(types.Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__("Lanes")


_LANES, _REGISTER = _LanesType(), ir.VectorType(ir.DoubleType(), WIDTH)


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _REGISTER)


@infer_global(operator.add)
@infer_global(operator.sub)
@infer_global(operator.truediv)
class _Arithmetic(ConcreteTemplate):  # type: ignore[misc]
    cases = [signature(_LANES, _LANES, _LANES)]  # noqa: RUF012


for _operator, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.truediv, "fdiv")):

    @lower_builtin(_operator, _LANES, _LANES)
    def _arithmetic(context: Any, builder: Any, signature: Any, args: Any, instruction: str = _instruction) -> Any:
        return getattr(builder, instruction)(*args)


def lanes(a: float, b: float, c: float, d: float) -> Floats:
    """Four numbers side by side."""
    return np.array([a, b, c, d])


@intrinsic
def _lanes(context: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        register = ir.Constant(_REGISTER, ir.Undefined)
        for i, number in enumerate(args):
            register = builder.insert_element(register, number, ir.Constant(ir.IntType(32), i))
        return register

    return _LANES(*[types.float64] * WIDTH), generate


@overload(lanes)
def _compiled_lanes(a: Any, b: Any, c: Any, d: Any) -> Any:
    def compiled(a: Any, b: Any, c: Any, d: Any) -> Any:
        return _lanes(float(a), float(b), float(c), float(d))  # type: ignore[call-arg]

    return compiled


def load(values: Floats, row: int) -> Floats:
    """Four rows of a column, from ``row`` on."""
    return values[row : row + WIDTH].copy()


@intrinsic
def _load(context: Any, values: Any, row: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature, args), align=8)

    return _LANES(values, types.int64), generate


@overload(load)
def _compiled_load(values: Any, row: Any) -> Any:
    def compiled(values: Any, row: Any) -> Any:
        return _load(values, row)  # type: ignore[call-arg]

    return compiled


def store(values: Floats, row: int, four: Floats) -> None:
    """Set four rows of a column, from ``row`` on."""
    values[row : row + WIDTH] = four


@intrinsic
def _store(context: Any, values: Any, row: Any, four: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, signature, args), align=8)
        return context.get_dummy_value()

    return types.void(values, types.int64, _LANES), generate


@overload(store)
def _compiled_store(values: Any, row: Any, four: Any) -> Any:
    def compiled(values: Any, row: Any, four: Any) -> Any:
        return _store(values, row, four)  # type: ignore[call-arg]

    return compiled


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    held = make_array(signature.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(held.data, [args[1]]), _REGISTER.as_pointer())


def turned(a: Floats, b: Floats, c: Floats, d: Floats) -> Four:
    """Rows for columns: the first numbers of all four, the second, and so on.

    >>> [one.tolist() for one in turned(*np.arange(16.0).reshape(4, 4))][1]
    [1.0, 5.0, 9.0, 13.0]
    """
    return tuple(np.array([a, b, c, d]).T.copy())


@intrinsic
def _turned(context: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def mix(one: Any, other: Any, places: list[int]) -> Any:
            return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), places))

        (a, b, c, d), evens, odds, firsts, lasts = args, [0, 4, 2, 6], [1, 5, 3, 7], [0, 1, 4, 5], [2, 3, 6, 7]
        upper, lower = [mix(a, b, evens), mix(a, b, odds)], [mix(c, d, evens), mix(c, d, odds)]
        rows = [mix(one, other, half) for half in (firsts, lasts) for one, other in zip(upper, lower, strict=True)]
        return context.make_tuple(builder, signature.return_type, rows)

    return types.UniTuple(_LANES, WIDTH)(*[_LANES] * WIDTH), generate


@overload(turned)
def _compiled_turned(a: Any, b: Any, c: Any, d: Any) -> Any:
    def compiled(a: Any, b: Any, c: Any, d: Any) -> Any:
        return _turned(a, b, c, d)  # type: ignore[call-arg]

    return compiled
