"""Reading a config: YAML 1.2, ``--set`` overrides, and messages that name the key, its value, what is allowed and the nearest key."""

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.config import NOT_YET, NOT_YET_VALUES, RunConfig
from pipeline.errors import ConfigError
from pipeline.profiles import with_profile

MOST_BYTES = 1_000_000
MOST_NODES = 100_000

WORDS = {
    "must be": "Input should be",
    "must": "Value should",
    "an integer": "a valid integer",
    "a ": "a valid ",
    "must have": "List should have",
    "must not be empty": "String should have at least 1 character",
    "": " after validation",
}
"""How we say what pydantic says."""

Loc = tuple[int | str, ...]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config file; paths of strategies' files in it are relative to its folder.

    Parameters
    ----------
    overrides
        Texts ``key.path=value`` with the value in YAML, applied in order.

    Raises
    ------
    ConfigError
        Naming every key that cannot be used.
    """
    path = Path(path)
    values = apply_overrides(_mapping(read_yaml(path), str(path)), overrides)
    return parse_config(values, str(path)).at(lambda file: str((path.parent / Path(file).expanduser()).resolve()))


def parse_config(values: Mapping[str, Any], source: str = "config") -> RunConfig:
    """Check plain values, as they come from YAML, against the models."""
    try:
        return RunConfig.model_validate(with_profile(values))
    except ValidationError as error:
        lines = [_explain(dict(item)) for item in error.errors(include_url=False)]
        raise ConfigError(f"{source}: " + "\n  ".join(["", *lines] if len(lines) > 1 else lines)) from None


def dump_yaml(values: Mapping[str, Any]) -> str:
    """YAML of plain values, in their order."""
    writer: Any = YAML(typ="safe", pure=True)
    text = StringIO()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False
    writer.width = 140
    writer.dump(dict(values), text)
    return text.getvalue()


def read_yaml(path: Path) -> Any:
    """The one document of a YAML file, as plain values."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)  # a device may have no end
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{path}: longer than {MOST_BYTES} bytes, which is the most a config has")
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); is it a config?") from None
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return _parse_yaml(text, str(path))


def apply_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Values with ``key.path=value`` texts applied; a list takes an index or the ``id`` of a member.

    >>> apply_overrides({"risk": {"max_gross": 2.0}}, ["risk.max_gross=1", "selector.max_positions=3"])
    {'risk': {'max_gross': 1}, 'selector': {'max_positions': 3}}
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.strip().split(".")):
            raise ConfigError(f"--set {override}: must be key.path=value, such as risk.max_gross=1.5")
        path = key.strip().split(".")
        values = _replaced(values, path, _parse_yaml(text, f"--set {override}"), override)
    return values


def _replaced(node: Any, path: Sequence[str], value: Any, override: str) -> Any:
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(node, list):
        at = _member(node, step, override)
        return [*node[:at], _replaced(node[at], rest, value, override), *node[at + 1 :]]
    if node is not None and not isinstance(node, dict):
        raise ConfigError(f"--set {override}: {step!r} lies inside {node!r}, which has no keys")
    return {**(node or {}), step: _replaced((node or {}).get(step), rest, value, override)}


def _member(nodes: list[Any], step: str, override: str) -> int:
    names = [node.get("id") if isinstance(node, dict) else None for node in nodes]
    if step in names:
        return names.index(step)
    if step.isdigit() and int(step) < len(nodes):
        return int(step)
    known = [str(name) for name in names if name is not None]
    raise ConfigError(
        f"--set {override}: {step!r} is no member here; use 0 to {len(nodes) - 1}" + (f" or {', '.join(known)}" if known else "")
    )


def _parse_yaml(text: str, source: str) -> Any:
    reader = YAML(typ="safe", pure=True)
    try:
        values = reader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{source}:{where}: not YAML: {error.problem or error.context}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{source}: not YAML: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
        ) from None
    _refuse_explosion(values, source)
    return values


def _refuse_explosion(values: Any, source: str) -> None:
    """A few aliases can stand for a tree of any size, or one without end."""
    waiting, seen = [values], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > MOST_NODES:
            raise ConfigError(f"{source}: more than {MOST_NODES} values once its aliases are written out")
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _mapping(values: Any, source: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source}: a config is a mapping of keys to values, but this file holds {type(values).__name__ if values is not None else 'nothing'}"
        )
    for key in values:
        if not isinstance(key, str):
            raise ConfigError(f"{source}: key {key!r} is not text")
    return values


# messages


def _explain(error: dict[str, Any]) -> str:
    loc: Loc = tuple(part for part in error["loc"] if part != "[key]")
    path = ".".join(str(part) for part in loc) or "config"
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(loc, path, error["input"])
    if kind == "missing":
        return f"{path}: missing; {_described(loc) or 'it must be given'}"
    later = next((value for value in NOT_YET_VALUES.get(_general(path), ()) if value == error["input"]), None)
    if later is not None:
        return f"{path} = {later}: not available yet; allowed: {context.get('expected', '')}"
    message = _message(kind, error["msg"], context, loc)
    return f"{path}{_shown(error['input'])}: {message}{_nearest_value(kind, context, error['input'])}"


def _general(path: str) -> str:
    head, *rest = path.split(".")
    return ".".join([head, "*", *rest[1:]]) if head in ("instruments", "strategies") and rest else path


def _message(kind: str, message: str, context: Mapping[str, Any], loc: Loc) -> str:
    if kind == "value_error":
        return str(context.get("error", message))
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        keys = _keys(loc)
        return f"must be a mapping{f' with keys among {_listed(keys)}' if keys else ''}"
    if kind == "string_pattern_mismatch" and loc[:2] == ("execution", "models"):
        return "must be FILE.py:FUNCTION"
    if kind == "string_pattern_mismatch":
        return "must be a name of letters, digits, '_', '-' and '.', at most 64 long, starting with a letter or digit"
    for ours, theirs in WORDS.items():
        message = message.replace(theirs, ours)
    return message


def _unknown_key(loc: Loc, path: str, value: object) -> str:
    if path in NOT_YET or _general(path) in NOT_YET:
        return f"{path}: not available yet; leave it out"
    keys, name = _keys(loc[:-1]), str(loc[-1])
    near = get_close_matches(name, keys, 1, 0.6) or [f"{section}.{name}" for section in _sections() if name in _keys((section,))]
    return f"{path}{_shown(value)}: unknown key{f', did you mean {near[0]!r}?' if near else ''}; allowed here: {_listed(keys)}"


def _sections() -> list[str]:
    return [name for name in RunConfig.model_fields if _keys((name,))]


def _nearest_value(kind: str, context: Mapping[str, Any], given: object) -> str:
    if kind != "literal_error" or not isinstance(given, str):
        return ""
    options = [option.strip("' ") for option in str(context["expected"]).replace(" or ", ", ").split(",")]
    near = get_close_matches(given, options, 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and not math.isnan(value)):
        text = repr(value)
        return f" = {text if len(text) <= 60 else text[:57] + '...'}"
    return ""


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(keys)


def _keys(loc: Loc) -> list[str]:
    model = _model_at(loc)
    return [field.alias or name for name, field in model.model_fields.items()] if model is not None else []


def _described(loc: Loc) -> str:
    model = _model_at(loc[:-1])
    field: FieldInfo | None = model.model_fields.get(str(loc[-1])) if model is not None else None
    return field.description or "" if field is not None else ""


def _model_at(loc: Loc) -> type[BaseModel] | None:
    """The model that describes the mapping at a path."""
    kind: Any = RunConfig
    for part in loc:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if part not in kind.model_fields:
                return None
            kind = kind.model_fields[str(part)].annotation
        else:
            kind = get_args(kind)[-1] if get_args(kind) else None
        kind = _without_none(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        kind = next((option for option in get_args(kind) if option is not type(None)), None)
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind
