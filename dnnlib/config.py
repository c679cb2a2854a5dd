"""Configurations are nested frozen dataclasses; this file turns them into JSON-able data and back, and changes them by `name.field=text`.

The annotations are the schema. A field is a bool, int, float, str, Literal, None, tuple, another dataclass, or a union of these. Where a
union has several dataclasses, the data name the one that was meant under the key "kind"; the name is looked up among the members of the
union and nowhere else, so no file can name a class into existence. A dataclass checks its own values in `__post_init__` by raising
UsageError.
"""

import dataclasses
import functools
import math
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from dnnlib.errors import UsageError, did_you_mean

_ANY_FLOAT = 'may be infinite or not a number'
AnyFloat = Annotated[float, _ANY_FLOAT]  # the annotation of a field that may be infinite; JSON has no such number, so it is written as text
KIND = 'kind'

_TRUE, _FALSE, _NONE = ('true', 'yes', 'on', '1'), ('false', 'no', 'off', '0'), ('none', 'null')


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


def flatten(config: Any) -> dict[str, Any]:
    """Return {dotted name: value} for every setting; a group that is switched off appears as one None."""
    return {name: value for name, (_, value) in _settings(config, '').items()}


def override(config: Any, assignments: Sequence[str]) -> Any:
    """Return `config` with assignments such as 'gan.r1_gamma=5', 'radiance.hidden=64,64' or 'superres=none' applied; the last one wins.

    The text is read as the field's annotation says. 'superres=on' switches a group on with its defaults; 'cameras.kind=Sphere' takes another
    member of a union, which keeps the settings that both have and has its defaults elsewhere. All assignments to one dataclass are applied
    before it checks itself, so values that belong together can change together. Raises UsageError for a name that does not exist, a text that
    does not fit, or values that the dataclass refuses.
    """
    parsed = []
    for assignment in assignments:
        name, equals, text = assignment.partition('=')
        if not equals or not name.strip():
            raise UsageError(f"Cannot read the setting '{assignment}': write name=value, for example seed=1.")
        parsed.append((name.strip().split('.'), text.strip()))
    return _override(config, parsed, '', tuple(_settings(config, '')))


# Schema: what an annotation allows.


@dataclass(frozen=True, slots=True)
class _Schema:
    """An annotation taken apart into the alternatives of its union."""

    optional: bool
    groups: tuple[type, ...]  # dataclasses
    plain: tuple[Any, ...]  # everything else, most specific first

    @property
    def needs_kind(self) -> bool:
        return len(self.groups) > 1


@functools.cache
def _schema(annotation: Any) -> _Schema:
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    groups = tuple(member for member in members if dataclasses.is_dataclass(member))
    plain = [member for member in members if member not in groups and member not in (None, types.NoneType)]
    for member in plain:
        if _specificity(member) is None:
            raise TypeError(f'a configuration cannot hold a field of type {member!r}')
    if len({group.__name__ for group in groups}) != len(groups):
        raise TypeError(f'two dataclasses of the union {annotation!r} have the same name')
    return _Schema(types.NoneType in members or None in members, groups, tuple(sorted(plain, key=_specificity)))


def _specificity(member: Any) -> int | None:
    """Return where a type stands in the order of trying: text that reads as an int is an int; str comes last, for all text is a str."""
    if get_origin(member) is Literal:
        return 0
    if get_origin(member) is tuple:
        return 4
    return {bool: 1, int: 2, float: 3, AnyFloat: 3, str: 5}.get(member)


@functools.cache
def _fields(cls: type) -> dict[str, Any]:
    """Return {name: annotation} of the fields that the constructor takes."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _describe(annotation: Any) -> str:
    """Say in words what an annotation allows."""
    schema = _schema(annotation)
    words = [_describe_plain(member) for member in schema.plain]
    words += [f'a group of settings ({group.__name__})' for group in schema.groups]
    return ' or '.join(words + ['none'] * schema.optional)


def _describe_plain(member: Any) -> str:
    if get_origin(member) is Literal:
        return ' or '.join(repr(value) for value in get_args(member))
    if get_origin(member) is tuple:
        inner = get_args(member)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return f'a list of: {_describe(inner[0])}'
        return f'{len(inner)} values ({"; ".join(_describe(item) for item in inner)})'
    names = {bool: 'true or false', int: 'a whole number', float: 'a finite number', AnyFloat: 'a number', str: 'a text'}
    return names[member]


class _Misfit(Exception):
    """This alternative of a union does not fit; the next one may."""


def _misfit(value: Any, annotation: Any, path: str) -> UsageError:
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + '...'
    hint = ''
    literals = [item for member in _schema(annotation).plain if get_origin(member) is Literal for item in get_args(member)]
    if isinstance(value, str):
        hint = did_you_mean(value, [item for item in literals if isinstance(item, str)])
    return UsageError(f"'{path or 'The configuration'}' must be {_describe(annotation)}, but is {shown}.{hint}")


# Data to configuration and back.


def _encode(value: Any, annotation: Any, path: str) -> Any:
    """Return JSON-able data for a value, checking that it fits its annotation."""
    schema = _schema(annotation)
    if value is None and schema.optional:
        return None
    if type(value) in schema.groups:
        data = {KIND: type(value).__name__} if schema.needs_kind else {}
        return data | {name: _encode(getattr(value, name), hint, _join(path, name)) for name, hint in _fields(type(value)).items()}
    for member in schema.plain:
        try:
            fitted = _fit(value, member)
        except _Misfit:
            continue
        if get_origin(member) is tuple:
            return [
                _encode(item, hint, _join(path, str(i)))
                for i, (item, hint) in enumerate(zip(fitted, _item_hints(member, len(fitted)), strict=True))
            ]
        return str(fitted) if isinstance(fitted, float) and not math.isfinite(fitted) else fitted
    raise _misfit(value, annotation, path)


def _decode(data: Any, annotation: Any, path: str, complete: bool = False) -> Any:
    """Return the value that JSON-able data stand for."""
    schema = _schema(annotation)
    if data is None and schema.optional:
        return None
    if isinstance(data, dict) and schema.groups:
        return _decode_group(data, schema, path, complete)
    for member in schema.plain:
        try:
            fitted = _fit(data, member)
        except _Misfit:
            continue
        if get_origin(member) is tuple:
            return tuple(
                _decode(item, hint, _join(path, str(i)), complete)
                for i, (item, hint) in enumerate(zip(fitted, _item_hints(member, len(fitted)), strict=True))
            )
        return fitted
    raise _misfit(data, annotation, path)


def _decode_group(data: dict, schema: _Schema, path: str, complete: bool) -> Any:
    """Build one of the union's dataclasses from a dict."""
    cls, given = schema.groups[0], dict(data)
    if schema.needs_kind:
        by_name = {group.__name__: group for group in schema.groups}
        kind = given.pop(KIND, None)
        if not isinstance(kind, str) or kind not in by_name:
            found = 'is missing' if kind is None else f'is {kind!r}'
            raise UsageError(f"'{_join(path, KIND)}' {found}; it must be one of: {', '.join(by_name)}.{did_you_mean(str(kind), by_name)}")
        cls = by_name[kind]
    fields = _fields(cls)
    unknown = [name for name in given if name not in fields]
    has_default = {field.name for field in dataclasses.fields(cls) if (field.default, field.default_factory) != (dataclasses.MISSING,) * 2}
    missing = [name for name in fields if name not in given and not (complete and name in has_default)]
    if unknown:
        hint = did_you_mean(_join(path, str(unknown[0])), [_join(path, name) for name in missing or fields])
        raise UsageError(f"Unknown setting '{_join(path, str(unknown[0]))}'.{hint}")
    if missing:
        raise UsageError(f"The setting '{_join(path, missing[0])}' is missing: every setting of {cls.__name__} must be given.")
    return _build(cls, {name: _decode(given[name], hint, _join(path, name), complete) for name, hint in fields.items() if name in given}, path)


def _build(cls: type, values: dict[str, Any], path: str) -> Any:
    """Construct a dataclass; what its own check refuses is reported with the name of the group."""
    try:
        return cls(**values)
    except UsageError as error:
        raise UsageError(f'{path}: {error}' if path else str(error)) from error


def _fit(value: Any, member: Any) -> Any:
    """Return `value` as the plain type `member`, or raise _Misfit. An int is a float, but a bool is no number; a tuple's items are left to
    the caller.
    """
    if get_origin(member) is Literal:
        for item in get_args(member):
            if type(item) is type(value) and item == value:
                return item
        raise _Misfit
    if get_origin(member) is tuple:
        if not isinstance(value, list | tuple) or len(_item_hints(member, len(value))) != len(value):
            raise _Misfit
        return value
    if member in (float, AnyFloat):
        return _fit_float(value, member is not float)
    if type(value) is not member:
        raise _Misfit
    return value


def _fit_float(value: Any, may_be_infinite: bool) -> float:
    if may_be_infinite and value in ('inf', '-inf', 'nan'):
        return float(value)
    if type(value) not in (int, float) or not (may_be_infinite or math.isfinite(value)):
        raise _Misfit
    return float(value)


def _item_hints(member: Any, length: int) -> tuple[Any, ...]:
    """Return one annotation per item of a tuple type: `tuple[T, ...]` fits any length, `tuple[A, B]` only two."""
    inner = get_args(member)
    if len(inner) == 2 and inner[1] is Ellipsis:
        return (inner[0],) * length
    return inner


def _settings(config: Any, path: str) -> dict[str, tuple[Any, Any]]:
    """Return {dotted name: (annotation, value)} of every leaf."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, hint in _fields(type(config)).items():
        value, full = getattr(config, name), _join(path, name)
        if dataclasses.is_dataclass(value):
            if _schema(hint).needs_kind:
                found[_join(full, KIND)] = (str, type(value).__name__)
            found |= _settings(value, full)
        else:
            found[full] = (hint, value)
    return found


def _join(path: str, name: str) -> str:
    return f'{path}.{name}' if path else name


# Assignments.


def _override(config: Any, assignments: list[tuple[list[str], str]], path: str, known: tuple[str, ...]) -> Any:
    """Apply (names, text) assignments to one dataclass: its own fields first, then, with what they became, the groups inside."""
    fields = _fields(type(config))
    changed: dict[str, Any] = {}
    inner: dict[str, list[tuple[list[str], str]]] = {}
    for (name, *rest), text in assignments:
        full = _join(path, name)
        if name not in fields:
            raise _unknown_setting('.'.join([full, *rest]), known)
        if rest:
            inner.setdefault(name, []).append((rest, text))
        else:
            changed[name] = _parse_field(text, fields[name], getattr(config, name), full)
    for name, within in inner.items():
        full, value = _join(path, name), changed.get(name, getattr(config, name))
        if _schema(fields[name]).needs_kind:
            for kind in (text for rest, text in within if rest == [KIND]):
                changed[name] = value = _of_kind(kind, value, _schema(fields[name]), full)
            within = [assignment for assignment in within if assignment[0] != [KIND]]
            if not within:
                continue
        if not dataclasses.is_dataclass(value):
            raise _not_a_group(full, value, fields[name], within)
        changed[name] = _override(value, within, full, known)
    if not changed:
        return config
    return _build(type(config), {name: getattr(config, name) for name in fields} | changed, path)


def _unknown_setting(full: str, known: tuple[str, ...]) -> UsageError:
    """Name the setting that was probably meant: the same name in another group, else one that is spelled alike."""
    last = full.rpartition('.')[2]
    known = tuple(name for name in known if name.rpartition('.')[2] != KIND)
    elsewhere = [name for name in known if name.rpartition('.')[2] == last]
    hint = f" Did you mean '{elsewhere[0]}'?" if elsewhere else did_you_mean(full, known)
    return UsageError(f"There is no setting '{full}'.{hint or ' --dry-run prints every setting.'}")


def _of_kind(kind: str, current: Any, schema: _Schema, path: str) -> Any:
    """The member of the union that is called `kind`, with what it shares with the current one; that one itself if it is of this kind."""
    by_name = {group.__name__: group for group in schema.groups}
    if kind not in by_name:
        raise UsageError(f"'{_join(path, KIND)}' is {kind!r}; it must be one of: {', '.join(by_name)}.{did_you_mean(kind, by_name)}")
    if type(current) is by_name[kind]:
        return current
    shared = _fields(by_name[kind]).keys() & (_fields(type(current)).keys() if dataclasses.is_dataclass(current) else set())
    return _switched_on(by_name[kind], path, {name: getattr(current, name) for name in shared})


def _switched_on(cls: type, path: str, values: dict[str, Any]) -> Any:
    """`cls` with these values, and its defaults elsewhere."""
    required = [field.name for field in dataclasses.fields(cls) if (field.default, field.default_factory) == (dataclasses.MISSING,) * 2]
    missing = [name for name in required if name not in values]
    if missing:
        raise UsageError(f"'{path}' cannot be switched on: '{_join(path, missing[0])}' has no default. Start from a preset (--cfg) in which it is on.")
    return _build(cls, values, path)


def _not_a_group(full: str, value: Any, annotation: Any, within: list[tuple[list[str], str]]) -> UsageError:
    asked, schema = '.'.join([full, *within[0][0]]), _schema(annotation)
    if value is None and schema.groups:
        kinds = ', '.join(group.__name__ for group in schema.groups)
        how = f'{_join(full, KIND)}=... (one of: {kinds})' if schema.needs_kind else f'{full}=on'
        return UsageError(f"Cannot set '{asked}': '{full}' is none (switched off) in this configuration. Switch it on with {how}, or leave '{asked}' away.")
    return UsageError(f"Cannot set '{asked}': '{full}' is a single setting ({_describe(annotation)}), not a group of settings.")


def _parse_field(text: str, annotation: Any, current: Any, path: str) -> Any:
    """Read the text of an assignment to one field."""
    schema = _schema(annotation)
    if len(schema.groups) == 1 and schema.optional and text.lower() in _TRUE:
        return current if dataclasses.is_dataclass(current) else _switched_on(schema.groups[0], path, {})
    if schema.groups and not (schema.optional and text.lower() in _NONE):
        members = ', '.join(_join(path, name) for name in _fields(type(current))) if dataclasses.is_dataclass(current) else ''
        off = f' or switch it off with {path}=none' if schema.optional else ''
        on = f'{_join(path, KIND)}=...' if schema.needs_kind else f'{path}=on'
        other = f', or take another kind with {on}' if schema.needs_kind else ''
        how = f'Set its members ({members}) one by one{other}{off}.' if members else f'Switch it on with {on}.'
        raise UsageError(f"'{path}' is a group of settings and cannot be set to {text!r}. {how}")
    return _parse(text, annotation, path)


def _parse(text: str, annotation: Any, path: str) -> Any:
    """Read text as the first alternative of the annotation that fits."""
    schema = _schema(annotation)
    if schema.optional and text.lower() in _NONE:
        return None
    for member in schema.plain:
        try:
            return _parse_plain(text, member, path)
        except _Misfit:
            continue
    raise _misfit(text, annotation, path)


def _parse_plain(text: str, member: Any, path: str) -> Any:
    if get_origin(member) is Literal:
        return _parse_literal(text, get_args(member))
    if get_origin(member) is tuple:
        items = _split_items(text)
        hints = _item_hints(member, len(items))
        if len(hints) != len(items):
            raise _Misfit
        return tuple(_parse(item, hint, _join(path, str(i))) for i, (item, hint) in enumerate(zip(items, hints, strict=True)))
    if member is bool:
        if text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        raise _Misfit
    if member is str:
        return text
    try:
        value = int(text) if member is int else float(text)
    except ValueError:
        raise _Misfit from None
    return value if member is int else _fit_float(value, member is not float)


def _parse_literal(text: str, items: tuple[Any, ...]) -> Any:
    for item in items:
        as_text = str(item).lower() if isinstance(item, bool) or item is None else str(item)
        if text == as_text:
            return item
    raise _Misfit


def _split_items(text: str) -> list[str]:
    """Split '64,64', '(64, 64)' or '[[1,2],[3,4]]' at its outermost commas; '' and '()' have no items."""
    text = text.strip()
    if text[:1] + text[-1:] in ('()', '[]') and _closes_last(text):
        text = text[1:-1].strip()
    items, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in '([') - (character in ')]')
        if character == ',' and depth == 0:
            items.append(text[start:position].strip())
            start = position + 1
    rest = text[start:].strip()
    return items + [rest] if rest else items


def _closes_last(text: str) -> bool:
    """Return whether the bracket that opens first is the one that closes last."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in '([') - (character in ')]')
        if depth == 0:
            return position == len(text) - 1
    return False
