"""From a configuration to JSON-able data and back."""

import dataclasses
import math
from typing import Any, get_origin

from dnnlib.config.schema import KIND, Misfit, Schema, build, fields_of, fit, item_hints, joined, misfit, schema_of
from dnnlib.errors import UsageError, did_you_mean


def to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as nested dicts, lists, numbers, strings and None, which `from_dict` turns back into an equal one.

    Raises UsageError, with the dotted name, for a value that does not fit its annotation.
    """
    return _encode(config, type(config), '')


def from_dict(cls: type, data: Any, *, complete: bool = False) -> Any:
    """Build the dataclass `cls` (or a member of a union of dataclasses) from what `to_dict` returned.

    Strict: raises UsageError with the dotted name for a key that is unknown, missing or of the wrong type. complete: a setting that is missing
    takes its default, at any depth. A file that lacks it is older than the setting, and the default of a new setting is what was done before.
    """
    return _decode(data, cls, '', complete)


def _encode(value: Any, annotation: Any, path: str) -> Any:
    """Return JSON-able data for a value, checking that it fits its annotation."""
    schema = schema_of(annotation)
    if value is None and schema.optional:
        return None
    if type(value) in schema.groups:
        data = {KIND: type(value).__name__} if schema.needs_kind else {}
        return data | {name: _encode(getattr(value, name), hint, joined(path, name)) for name, hint in fields_of(type(value)).items()}
    for member in schema.plain:
        try:
            fitted = fit(value, member)
        except Misfit:
            continue
        if get_origin(member) is tuple:
            return [
                _encode(item, hint, joined(path, str(i)))
                for i, (item, hint) in enumerate(zip(fitted, item_hints(member, len(fitted)), strict=True))
            ]
        return str(fitted) if isinstance(fitted, float) and not math.isfinite(fitted) else fitted
    raise misfit(value, annotation, path)


def _decode(data: Any, annotation: Any, path: str, complete: bool = False) -> Any:
    """Return the value that JSON-able data stand for."""
    schema = schema_of(annotation)
    if data is None and schema.optional:
        return None
    if isinstance(data, dict) and schema.groups:
        return _decode_group(data, schema, path, complete)
    for member in schema.plain:
        try:
            fitted = fit(data, member)
        except Misfit:
            continue
        if get_origin(member) is tuple:
            return tuple(
                _decode(item, hint, joined(path, str(i)), complete)
                for i, (item, hint) in enumerate(zip(fitted, item_hints(member, len(fitted)), strict=True))
            )
        return fitted
    raise misfit(data, annotation, path)


def _decode_group(data: dict, schema: Schema, path: str, complete: bool) -> Any:
    """Build one of the union's dataclasses from a dict."""
    cls, given = schema.groups[0], dict(data)
    if schema.needs_kind:
        by_name = {group.__name__: group for group in schema.groups}
        kind = given.pop(KIND, None)
        if not isinstance(kind, str) or kind not in by_name:
            found = 'is missing' if kind is None else f'is {kind!r}'
            raise UsageError(f"'{joined(path, KIND)}' {found}; it must be one of: {', '.join(by_name)}.{did_you_mean(str(kind), by_name)}")
        cls = by_name[kind]
    fields = fields_of(cls)
    unknown = [name for name in given if name not in fields]
    has_default = {field.name for field in dataclasses.fields(cls) if (field.default, field.default_factory) != (dataclasses.MISSING,) * 2}
    missing = [name for name in fields if name not in given and not (complete and name in has_default)]
    if unknown:
        hint = did_you_mean(joined(path, str(unknown[0])), [joined(path, name) for name in missing or fields])
        raise UsageError(f"Unknown setting '{joined(path, str(unknown[0]))}'.{hint}")
    if missing:
        raise UsageError(f"The setting '{joined(path, missing[0])}' is missing: every setting of {cls.__name__} must be given.")
    return build(cls, {name: _decode(given[name], hint, joined(path, name), complete) for name, hint in fields.items() if name in given}, path)
