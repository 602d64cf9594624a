"""The gate: what an expression may be made of, and the certificate that a table made from it carries.

1. ``check`` walks the operator tree and refuses, by name, every operator that is not known to look back only.
2. ``features.poison`` tries to move the past by overwriting the future, and issues a ``Certificate`` where it cannot.
3. ``require_certificate`` is what a replay asks of a proposal table.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from features.tree import Feature, Operator, integer, walk

if TYPE_CHECKING:
    from features.proposals import ProposalTable

POISONS = ("nan", "plus", "minus", "permutation")
"""What the future is overwritten with: unknown values, +1e9, -1e9, its own values in another order."""


class CausalityError(ValueError):
    """A computation that may see the future, or a table without the proof that it did not."""


@dataclass(frozen=True)
class Certificate:
    """Proof that one computation on one dataset passed the gate.

    Attributes
    ----------
    tree
        Digest of the operator tree.
    dataset
        Content id of the dataset.
    interval
        Name of the bar series; empty: the finest of each symbol.
    cuts
        ``cuts[symbol]``: rows of the symbol's bars after which the future was overwritten, each with every poison.
    polars, code
        Version of Polars, and digest of this package's sources.
    """

    tree: str
    dataset: str
    interval: str
    cuts: Mapping[str, tuple[int, ...]]
    polars: str
    code: str
    poisons: tuple[str, ...] = POISONS

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Certificate":
        """Read ``to_json``.

        Raises
        ------
        CausalityError
            If it is not a certificate.
        """
        try:
            fields = json.loads(text)
            cuts = {str(symbol): tuple(int(row) for row in rows) for symbol, rows in fields.pop("cuts").items()}
            return cls(cuts=cuts, poisons=tuple(fields.pop("poisons")), **fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CausalityError(f"not a certificate: {error}; compute the file anew") from None


def require_certificate(table: "ProposalTable", dataset_id: str) -> None:
    """Refuse a table that is not certified for a dataset.

    Raises
    ------
    CausalityError
        If it has no certificate, or another dataset's.
    """
    if table.provenance != "certified" or not table.certificates:
        raise CausalityError(
            f"uncertified proposals (provenance '{table.provenance}'): certify them with their strategy, or accept them as external"
        )
    for certificate in table.certificates:
        if certificate.dataset != dataset_id or table.dataset_id != dataset_id:
            raise CausalityError(
                f"another dataset's certificate: the proposals belong to dataset {certificate.dataset[:12]}, "
                f"this is {dataset_id[:12]}; compute them for this dataset"
            )


def check(feature: Feature, where: str) -> None:
    """Refuse an expression with an operator that is not known to look back only.

    Raises
    ------
    CausalityError
        Names the operator.
    """
    for node in walk(feature.tree):
        verdict = _ALLOWED.get(node.name, _refused)(node)
        if verdict is not None:
            raise CausalityError(f"{where}: {verdict}")
    if not feature.columns:
        raise CausalityError(f"{where}: it reads no column; write a constant in the rule itself")


Verdict = Callable[[Operator], str | None]

_REASONS = {
    **dict.fromkeys(
        ("Mean", "Sum", "Min", "Max", "Std", "Var", "Median", "Quantile", "First", "Last", "NUnique", "Count", "Skew", "Kurtosis", "Len"),
        "aggregates the whole column, future rows included; use a rolling window",
    ),
    **dict.fromkeys(("ArgMin", "ArgMax", "Mode", "Product", "Entropy"), "aggregates the whole column, future rows included"),
    **dict.fromkeys(("Rank", "QCut", "Interpolate", "Unique", "Hist", "ValueCounts"), "needs the whole column, future rows included"),
    **dict.fromkeys(
        ("Sort", "SortBy", "Reverse", "Gather", "Slice", "Filter", "DropNulls", "DropNans"), "moves rows, so that values leave their time"
    ),
    **dict.fromkeys(
        ("Over", "Rolling", "RollingExprBy", "EwmMeanBy"), "groups rows by other columns; a feature already sees one symbol in time order"
    ),
    **dict.fromkeys(("AnonymousFunction", "AnonymousAgg", "FfiPlugin", "PluginFunction"), "is opaque: what it reads cannot be checked"),
    "Selector": "selects several columns; name them one by one",
}


def _refused(node: Operator) -> str:
    reason = _REASONS.get(node.name, "is not among the operators known to look back only")
    return f"operator '{node.name}' {reason}"


def _fine(_: Operator) -> None:
    return None


def _literal(node: Operator) -> str | None:
    kind, body = next(iter(node.options.items()))
    scalar = next(iter(body)) if isinstance(body, dict) else body
    if kind in ("Dyn", "Scalar") and (scalar in ("Int", "Float", "Null", "Boolean") or str(scalar).startswith(("Int", "UInt", "Float"))):
        return None
    return (
        f"literal of type '{kind} {scalar if isinstance(scalar, str) else ''}'".rstrip()
        + " brings data of its own; only numbers are constants"
    )


def _forward_only(node: Operator) -> str | None:
    return f"'{node.name}' with reverse=True runs backwards through time" if node.options.get("reverse") else None


def _shifted(node: Operator) -> str | None:
    rows = integer(node.inputs[1])
    if rows is None:
        return f"'{node.name}' by a computed number of rows; only a constant is allowed"
    return f"'{node.name}' by {rows} rows reads the future; only 0 and more are allowed" if rows < 0 else None


def _window(node: Operator) -> str | None:
    function = node.options["function"]
    name = function if isinstance(function, str) else next(iter(function))
    if name not in ("Mean", "Sum", "Min", "Max", "Std", "Var", "Quantile", "Skew", "Kurtosis", "Rank", "CorrCov"):
        return f"'rolling {name}' is opaque: what it reads cannot be checked"
    if node.options["options"]["center"]:
        return f"'rolling {name}' with a centred window reads the future"
    parameters = node.options["options"]["fn_params"]
    if isinstance(parameters, dict) and parameters.get("Rank", {}).get("method") == "Random":
        return "'rolling Rank' with random ties differs from run to run"
    return None


def _filled(node: Operator) -> str | None:
    strategy = node.options if isinstance(node.options, str) else next(iter(node.options))
    if strategy in ("Forward", "Zero", "One"):
        return None
    return f"'fill_null' with strategy '{strategy.lower()}' reads the future; only forward is allowed"


def _cast(node: Operator) -> str | None:
    target = node.options.get("Literal") if isinstance(node.options, dict) else None
    return None if target in ("Float64", "Float32", "Boolean") else f"'cast' to {target}; only floats and booleans are allowed"


_ELEMENTWISE = (
    "Column", "Alias", "BinaryExpr", "Ternary", "Negate", "Abs", "Sign", "Floor", "Ceil", "Round", "Clip", "Exp", "Log", "Log1p", "PowSqrt",
    "PowCbrt", "PowGeneric", "MaxHorizontal", "MinHorizontal", "SumHorizontal", "MeanHorizontal", "Coalesce", "FillNull", "Atan2",
    "Sin", "Cos", "Tan", "ArcSin", "ArcCos", "ArcTan", "Sinh", "Cosh", "Tanh", "IsNull", "IsNotNull", "IsNan", "IsNotNan", "IsFinite",
    "IsInfinite", "IsBetween", "Not",
)  # fmt: skip

_ALLOWED: dict[str, Verdict] = {
    **dict.fromkeys(_ELEMENTWISE, _fine),
    **dict.fromkeys(("CumSum", "CumCount", "CumMin", "CumMax", "CumProd"), _forward_only),
    **dict.fromkeys(("Shift", "ShiftAndFill", "Diff", "PctChange"), _shifted),
    **dict.fromkeys(("EwmMean", "EwmStd", "EwmVar"), _fine),
    "Literal": _literal,
    "RollingExpr": _window,
    "FillNullWithStrategy": _filled,
    "Cast": _cast,
}
