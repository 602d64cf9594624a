"""Ledger records as an Arrow table: names as text, null where a column does not apply."""

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
    columns: dict[str, Any] = {"seq": pa.array(np.arange(len(records), dtype=np.int64))}
    columns["ts"] = pa.array(np.ascontiguousarray(records["ts"])).cast(pa.timestamp("us", "UTC"))
    columns["phase"] = _text(records["phase"], phases, records["phase"] >= len(phases))
    columns["kind"] = _text(records["kind"], kinds)
    columns["reason"] = _text(records["reason"], reasons, records["reason"] == Reason.NONE)
    columns["symbol"] = _text(records["symbol"], symbols, records["symbol"] == NONE)
    columns["strategy"] = _text(records["strategy"], strategies, records["strategy"] == NONE)
    for name in ("order_id", "proposal", "cause", "side", "qty", "price", "fee", "amount", "cash", "position", "value", "rank", "flags"):
        values = np.ascontiguousarray(records[name])
        columns[name] = pa.array(values, mask=(values == NONE) if name in NULL_AT_NONE else None)
    return pa.table(columns)


def _text(codes: NDArray[Any], names: Any, null: NDArray[np.bool_] | None = None) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=null), pa.array(list(names), pa.string()))
