"""Named arrays that compiled code receives as one pointer.

A NamedTuple of thirty arrays is copied, two hundred words of it, at every call that is not inlined, and each array is reference-counted on
the way: measured at 500 ns a bar.  A ``Block`` keeps a small table of (address, length) pairs; compiled code gets the table's address and
reads from it the arrays it names.  The loads are marked invariant, so a loop fetches them once.  In plain Python a block is just an
object with attributes.
"""

import ctypes
from typing import Any, ClassVar, Self

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate
from numba.extending import NativeValue, infer_getattr, intrinsic, models, overload, register_model, typeof_impl, unbox
from numba.np import numpy_support
from numba.np.arrayobj import make_array, populate_array
from numpy.typing import DTypeLike, NDArray


def column(dtype: DTypeLike) -> Any:
    """Declare one array of a block, of shape (n,)."""
    return np.dtype(dtype)


class Block:
    """Base of the kernel's arguments: subclasses declare ``name: NDArray[...] = column(dtype)``, in order.

    Raises
    ------
    TypeError
        If an array is missing, unknown, of another dtype, not one-dimensional or not contiguous.
    """

    columns: ClassVar[dict[str, np.dtype[Any]]]
    writeable: ClassVar[bool] = False
    address: int
    _numba_type_: ClassVar["BlockType"]

    def __init_subclass__(cls, writeable: bool = False) -> None:
        cls.columns = {name: value for name, value in vars(cls).items() if isinstance(value, np.dtype)}
        cls.writeable = writeable
        for name in cls.columns:
            delattr(cls, name)
        arrays = tuple(types.Array(numpy_support.from_dtype(dtype), 1, "C", readonly=not writeable) for dtype in cls.columns.values())
        cls._numba_type_ = BlockType(cls.__name__, tuple(cls.columns), arrays)  # found by the dispatcher without a look at the value

    def __init__(self, **arrays: NDArray[Any]) -> None:
        if set(arrays) != set(self.columns):
            raise TypeError(f"{type(self).__name__} takes {list(self.columns)}, got {list(arrays)}")
        table = np.zeros((len(self.columns), 2), np.int64)
        for i, (name, dtype) in enumerate(self.columns.items()):
            array = arrays[name]
            if array.dtype != dtype or array.ndim != 1 or not array.flags.c_contiguous or (self.writeable and not array.flags.writeable):
                raise TypeError(f"{type(self).__name__}.{name}: wants {dtype} of shape (n,), got {array.dtype} {array.shape}")
            setattr(self, name, array)
            table[i] = array.ctypes.data, len(array)
        self._table = table
        self.address = table.ctypes.data

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in self.columns}

    def replace(self, **arrays: NDArray[Any]) -> Self:
        """A block with some arrays exchanged."""
        return type(self)(**(self.arrays() | arrays))


class BlockType(types.Type):  # type: ignore[misc]
    """Numba's type of a block: the names and the types of its arrays."""

    def __init__(self, name: str, names: tuple[str, ...], arrays: tuple[types.Array, ...]) -> None:
        self.names, self.arrays = names, arrays
        super().__init__(
            name=name
        )  # not its arrays: the name is a part of every symbol, and compiled code is kept by version of the sources


@typeof_impl.register(Block)
def _typeof_block(value: Block, context: Any) -> BlockType:
    return value._numba_type_


register_model(BlockType)(models.OpaqueModel)


@unbox(BlockType)
def _unbox_block(typ: BlockType, obj: Any, c: Any) -> NativeValue:
    address = c.pyapi.object_getattr_string(obj, "address")
    number = c.pyapi.long_as_longlong(address)
    c.pyapi.decref(address)
    return NativeValue(c.builder.inttoptr(number, cgutils.voidptr_t), is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


@infer_getattr
class _BlockAttribute(AttributeTemplate):  # type: ignore[misc]
    key = BlockType

    def generic_resolve(self, typ: BlockType, attr: str) -> Any:
        return typ.arrays[typ.names.index(attr)] if attr in typ.names else None


@lower_getattr_generic(BlockType)
def _get_array(context: Any, builder: Any, typ: BlockType, value: Any, attr: str) -> Any:
    i = typ.names.index(attr)
    array_type = typ.arrays[i]
    table = builder.bitcast(value, ir.IntType(64).as_pointer())
    invariant = builder.module.add_metadata([])

    def word(at: int) -> Any:
        loaded = builder.load(builder.gep(table, [ir.Constant(ir.IntType(32), at)]))
        loaded.set_metadata("invariant.load", invariant)
        return loaded

    array = make_array(array_type)(context, builder)
    itemsize = ir.Constant(ir.IntType(64), context.get_abi_sizeof(context.get_data_type(array_type.dtype)))
    data = builder.inttoptr(word(2 * i), array.data.type)
    populate_array(array, data=data, shape=[word(2 * i + 1)], strides=[itemsize], itemsize=itemsize, meminfo=None)
    return array._getvalue()


def prefetch(array: NDArray[Any], index: int) -> None:
    """Ask the processor to bring one element near; a hint, so any index is allowed and nothing happens in plain Python."""


@intrinsic
def _prefetch(context: Any, array: types.Array, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        held = make_array(signature.args[0])(context, builder, args[0])
        address = builder.bitcast(builder.gep(held.data, [args[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        hint = builder.module.declare_intrinsic(
            "llvm.prefetch", [cgutils.voidptr_t], ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        )
        builder.call(hint, [address, number(0), number(3), number(1)])  # to read, in all caches, as data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@overload(prefetch)
def _compiled_prefetch(array: Any, index: Any) -> Any:
    def compiled(array: Any, index: Any) -> Any:
        _prefetch(array, index)  # type: ignore[call-arg]

    return compiled


def address_of(array: NDArray[Any]) -> int:
    """Where the numbers of an array lie."""
    return int(array.ctypes.data)


def floats_at(address: int, length: int) -> NDArray[np.float64]:
    """The numbers at an address; whoever calls it sees to it that they stay there."""
    return np.ctypeslib.as_array((ctypes.c_double * int(length)).from_address(int(address)))


@intrinsic
def _floats_at(context: Any, address: Any, length: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = make_array(signature.return_type)(context, builder)
        eight = ir.Constant(ir.IntType(64), 8)
        data = builder.inttoptr(args[0], array.data.type)
        populate_array(array, data=data, shape=[args[1]], strides=[eight], itemsize=eight, meminfo=None)
        return array._getvalue()

    return types.float64[::1](types.int64, types.int64), generate


@overload(floats_at)
def _compiled_floats_at(address: Any, length: Any) -> Any:
    def compiled(address: Any, length: Any) -> Any:
        return _floats_at(address, length)  # type: ignore[call-arg]

    return compiled
