"""Ledger records as an Arrow table: names as text, null where a column does not apply."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.schema import NONE, EventKind, Reason, RecordKind

NULL_AT_NONE = ("order_id", "proposal", "cause")


def to_table(records: NDArray[Any], symbols: tuple[str, ...], strategies: tuple[str, ...]) -> Any:
    """The records as an Arrow table: names as text, null where a column does not apply."""
    import pyarrow as pa

    kinds = [RecordKind(code).name if code in set(RecordKind) else "" for code in range(max(RecordKind) + 1)]
    reasons = [Reason(code).name if code in set(Reason) else "" for code in range(max(Reason) + 1)]
    phases = [kind.name for kind in EventKind]
    columns: dict[str, Any] = {"seq": _numbers(np.arange(len(records), dtype=np.int64))}
    columns["ts"] = _numbers(records["ts"]).view(pa.timestamp("us", "UTC"))
    columns["phase"] = _text(records["phase"], phases, records["phase"] >= len(phases))
    columns["kind"] = _text(records["kind"], kinds)
    columns["reason"] = _text(records["reason"], reasons, records["reason"] == Reason.NONE)
    columns["symbol"] = _text(records["symbol"], symbols, records["symbol"] == NONE)
    columns["strategy"] = _text(records["strategy"], strategies, records["strategy"] == NONE)
    for name in ("order_id", "proposal", "cause", "side", "qty", "price", "fee", "amount", "cash", "position", "value", "rank", "flags"):
        columns[name] = _numbers(records[name], records[name] == NONE if name in NULL_AT_NONE else None)
    return pa.Table.from_arrays(list(columns.values()), list(columns))


def _text(codes: NDArray[Any], names: Sequence[str], null: NDArray[np.bool_] | None = None) -> Any:
    import pyarrow as pa

    encoded = [name.encode() for name in names]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    dictionary = pa.Array.from_buffers(pa.string(), len(names), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])
    places = codes.astype(np.int32) if null is None else np.where(null, 0, codes).astype(np.int32)  # a key within the names, even of a null
    return pa.DictionaryArray.from_arrays(_numbers(places, null), dictionary)


def _numbers(values: NDArray[Any], null: NDArray[np.bool_] | None = None) -> Any:
    """An Arrow array over the buffer of a NumPy one.  ``pa.array`` would import pandas, where it is installed, to look for its types."""
    import pyarrow as pa

    valid = None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little"))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [valid, pa.py_buffer(np.ascontiguousarray(values))])
