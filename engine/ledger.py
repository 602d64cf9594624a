"""The ledger on disk: typed, self-describing and chained; its canonical hash; JSONL.  # R9.3, R11

docs/ledger.md says what each record holds.  Names stand in the file as text; the header, in the schema's metadata, holds whatever a
reader needs to check the money without the run.
"""

import hashlib
import json
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.full_ledger import full_table
from engine.record_table import NULL_AT_NONE, to_table
from engine.schema import COUNTED, NONE, RECORD, SEMANTICS_VERSION, EventKind, Reason, RecordKind
from engine.session import ReplayResult

BLOCK = 1024  # records in one link of the chain

Counts = Mapping[tuple[str, str, str], int]
"""Proposals that are counted and not stored, by (strategy, symbol, reason).  # R5.4"""

_UNREADABLE = (ArithmeticError, AttributeError, LookupError, MemoryError, SystemError, TypeError, ValueError)
"""What pyarrow and NumPy raise, beside their own errors, at a file whose bytes were altered."""

_PACKED = np.dtype([(name, RECORD[name]) for name in RECORD.names or ()])


class LedgerError(ValueError):
    """A ledger that is cut, altered or does not add up; the message names the record and what is wrong."""


@dataclass(frozen=True)
class Ledger:
    """A ledger as read from disk: trades-level records, the names they refer to, and the header."""

    records: NDArray[Any]
    symbols: tuple[str, ...]
    strategies: tuple[str, ...]
    header: Mapping[str, Any]


def count_outcomes(result: ReplayResult) -> dict[tuple[str, str, str], int]:
    """Count the proposals that are not stored, by (strategy, symbol, reason).  # R5.4"""
    counts: dict[tuple[str, str, str], int] = {}
    proposals = result.proposals
    for reason in COUNTED:
        rows = np.flatnonzero(result.outcomes == reason)
        pairs, numbers = np.unique(np.stack([proposals.strategy[rows], proposals.symbol[rows]]), axis=1, return_counts=True)
        for (strategy, symbol), number in zip(pairs.T.tolist(), numbers.tolist(), strict=True):
            counts[result.strategies[strategy], result.symbols[symbol], reason.name] = number
    return counts


def result_hash(records: NDArray[Any], symbols: tuple[str, ...], strategies: tuple[str, ...], counts: Counts) -> str:
    """SHA-256 of the canonical stream of a run, equal at every ledger level.  # R9.3

    The stream: the names that occur, symbols then strategies, sorted, each list preceded by its length and each name by that of its
    UTF-8 bytes (uint32); the records as packed little-endian fields in the order of ``engine.schema.RECORD``, names as places in those
    lists; the counts as (symbol, strategy, reason, number) of int64, sorted.
    """
    digest = hashlib.sha256()
    packed = np.empty(len(records), _PACKED)
    for name in _PACKED.names or ():
        packed[name] = records[name]
    places: dict[str, dict[str, int]] = {}
    for field, names, at in (("symbol", symbols, 1), ("strategy", strategies, 0)):
        used = {names[i] for i in np.unique(records[field]).tolist() if i != NONE} | {key[at] for key in counts}
        listed = sorted(used)
        places[field] = {name: i for i, name in enumerate(listed)}
        digest.update(_names(listed))
        table = np.array([places[field].get(name, NONE) for name in names] + [NONE], np.int32)
        packed[field] = table[records[field]]
    digest.update(packed.tobytes())
    rows = sorted((places["symbol"][key[1]], places["strategy"][key[0]], int(Reason[key[2]]), n) for key, n in counts.items())
    digest.update(np.array(rows, "<i8").tobytes())
    return digest.hexdigest()


def _names(names: list[str]) -> bytes:
    encoded = [name.encode() for name in names]
    return len(names).to_bytes(4, "little") + b"".join(len(name).to_bytes(4, "little") + name for name in encoded)


def ledger_header(result: ReplayResult, **more: Any) -> dict[str, Any]:
    """What a reader of the ledger needs to know; ``more`` adds dataset id, run id, seed and the like.  # R11.2"""
    settings = result.settings
    instruments = {
        instrument.symbol: {
            "kind": instrument.kind,
            "lot": list(instrument.base_lot),
            "tick": list(instrument.tick),
            "multiplier": list(instrument.multiplier),
            "leverage": settings.leverage if instrument.leverage is None else instrument.leverage,
            "maintenance": [list(tier) for tier in instrument.tiers],
            "quote": instrument.quote,
            "borrow": [list(row) for row in instrument.borrow_rates],
            "settlement": instrument.settlement if instrument.is_future else None,
            "expiry": instrument.expiry if instrument.is_future else None,
        }
        for instrument in settings.instruments
    }
    return {
        "semantics_version": SEMANTICS_VERSION,
        "priorities": {kind.name: int(kind) for kind in EventKind},
        "symbols": list(result.symbols),
        "strategies": list(result.strategies),
        "instruments": instruments,
        "decimals": settings.decimals,
        "margin": {
            "mode": settings.margin.name,
            "maintenance_basis": settings.maintenance_basis.name,
            "maintenance_fee": settings.maintenance_fee.name,
            "liquidation_fee": settings.liquidation_fee,
        },
        "fees": {
            **{name: getattr(settings, name) for name in ("maker_bps", "taker_bps", "per_unit", "flat", "min_fee")},
            "tiers": [[tier.from_notional, tier.maker_bps, tier.taker_bps] for tier in settings.fee_tiers],
        },
        "interest": [list(row) for row in settings.interest],
        "models": {model.kind.name.lower(): [model.name, model.source_hash] for model in settings.models},
        "versions": {name: _version(name) for name in ("tapeline", "numpy", "numba", "pyarrow", "polars")}
        | {"python": platform.python_version()},
        **more,
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def chain(records: NDArray[Any], header: Mapping[str, Any]) -> list[str]:
    """Links of SHA-256, one a block of records, each over the link before and the block's bytes; the first over the header."""
    packed = np.ascontiguousarray(records.astype(_PACKED))
    said = {name: value for name, value in header.items() if name != "chain"}
    links, link = [], hashlib.sha256(json.dumps(said, ensure_ascii=False, sort_keys=True).encode()).digest()
    for start in range(0, len(packed), BLOCK):
        link = hashlib.sha256(link + packed[start : start + BLOCK].tobytes()).digest()
        links.append(link.hex())
    return links


def write_ledger(path: Path, result: ReplayResult, header: Mapping[str, Any], *, full: bool = False) -> str:
    """Write the ledger and return the run's ``result_hash``.

    Parameters
    ----------
    header
        From ``ledger_header``; the counts, the number of records, the chain and the hash are added.
    full
        Write the market events too that met a held or pending symbol, and the proposals that are otherwise counted only.
    """
    import pyarrow as pa

    counts = count_outcomes(result)
    digest = result_hash(result.records, result.symbols, result.strategies, counts)
    listed = [{"strategy": key[0], "symbol": key[1], "reason": key[2], "number": n} for key, n in sorted(counts.items())]
    said: dict[str, Any] = {"level": "full" if full else "trades", "counts": listed, "result_hash": digest}
    said |= dict(header) | {"records": len(result.records)}
    said["chain"] = chain(result.records, said)
    table = full_table(result) if full else to_table(result.records, result.symbols, result.strategies)
    table = table.replace_schema_metadata({"tapeline": json.dumps(said, ensure_ascii=False, sort_keys=True)})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return digest


def read_ledger(path: Path) -> Ledger:
    """Read a ledger and check its chain.

    Raises
    ------
    LedgerError
        If the file is not a ledger, or was cut or altered.
    """
    import pyarrow as pa
    import pyarrow.compute

    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        table.validate(full=True)  # else a length or a place in a dictionary that is out of bounds is followed into foreign memory
        header = json.loads(table.schema.metadata[b"tapeline"])
        symbols, strategies = tuple(header["symbols"]), tuple(header["strategies"])
        records = _records(table.filter(pa.compute.is_valid(table["seq"])), symbols, strategies)
        links, said_links = chain(records, header), list(header["chain"])
        count, _ = header["records"], [header[name] for name in ("decimals", "instruments", "result_hash")]
    except (OSError, pa.ArrowException, *_UNREADABLE) as error:
        raise LedgerError(f"{path}: not a ledger ({error}); write it anew with `tapeline run`") from error
    if len(records) != count or len(links) != len(said_links):
        raise LedgerError(f"{path}: {len(records)} records, its header says {count}: the ledger was cut or added to; replay the run")
    for number, (found, said) in enumerate(zip(links, said_links, strict=True)):
        if found != said:
            first = number * BLOCK
            raise LedgerError(
                f"{path}: the chain breaks in records {first} to {min(first + BLOCK, len(records)) - 1}: they, or the header, were altered; replay the run"
            )
    return Ledger(records, symbols, strategies, header)


def _records(table: Any, symbols: tuple[str, ...], strategies: tuple[str, ...]) -> NDArray[Any]:
    import pyarrow as pa

    codes: dict[str, Mapping[str, int]] = {
        "kind": {kind.name: int(kind) for kind in RecordKind},
        "reason": {reason.name: int(reason) for reason in Reason},
        "phase": {kind.name: int(kind) for kind in EventKind},
        "symbol": {name: i for i, name in enumerate(symbols)},
        "strategy": {name: i for i, name in enumerate(strategies)},
    }
    missing = {"reason": 0, "phase": 255}
    records = np.zeros(table.num_rows, RECORD)
    for name in RECORD.names or ():
        column = table[name].combine_chunks()
        if name in codes:
            column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            known = [codes[name].get(text, NONE) for text in column.dictionary.to_pylist()]
            names = np.array([*known, missing.get(name, NONE)])
            places = column.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
            records[name] = names[places]
        elif name == "ts":
            records[name] = column.cast("int64").to_numpy()
        else:
            records[name] = column.fill_null(NONE).to_numpy(zero_copy_only=False) if name in NULL_AT_NONE else column.to_numpy()
    return records


def jsonl(path: Path) -> Iterator[str]:
    """A ledger file as one JSON object a line: the header, then every row, market events of the full level as well.

    What does not apply, or is not a finite number, is left out.

    Raises
    ------
    LedgerError
        As ``read_ledger``, before the first line.
    """
    import pyarrow as pa

    yield json.dumps({"header": dict(read_ledger(path).header)}, ensure_ascii=False, sort_keys=True)
    with pa.memory_map(str(path)) as source:
        for batch in pa.ipc.open_file(source).read_all().to_batches(max_chunksize=BLOCK):
            for row in batch.to_pylist():
                row["ts"] = row["ts"].isoformat()
                said = {name: value for name, value in row.items() if value is not None and not _is_endless(value)}
                yield json.dumps(said, ensure_ascii=False, allow_nan=False)


def _is_endless(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
