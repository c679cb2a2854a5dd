"""What an annotation of a configuration's field allows, in code and in words, and whether a value fits it."""

import dataclasses
import functools
import math
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from dnnlib.errors import UsageError, did_you_mean

_ANY_FLOAT = 'may be infinite or not a number'
AnyFloat = Annotated[float, _ANY_FLOAT]  # the annotation of a field that may be infinite; JSON has no such number, so it is written as text
KIND = 'kind'


@dataclass(frozen=True, slots=True)
class Schema:
    """An annotation taken apart into the alternatives of its union."""

    optional: bool
    groups: tuple[type, ...]  # dataclasses
    plain: tuple[Any, ...]  # everything else, most specific first

    @property
    def needs_kind(self) -> bool:
        return len(self.groups) > 1


@functools.cache
def schema_of(annotation: Any) -> Schema:
    """Take an annotation apart. Raises TypeError for one that no configuration can hold."""
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    groups = tuple(member for member in members if dataclasses.is_dataclass(member))
    plain = [member for member in members if member not in groups and member not in (None, types.NoneType)]
    for member in plain:
        if _specificity(member) is None:
            raise TypeError(f'a configuration cannot hold a field of type {member!r}')
    if len({group.__name__ for group in groups}) != len(groups):
        raise TypeError(f'two dataclasses of the union {annotation!r} have the same name')
    return Schema(types.NoneType in members or None in members, groups, tuple(sorted(plain, key=_specificity)))


def _specificity(member: Any) -> int | None:
    """Return where a type stands in the order of trying: text that reads as an int is an int; str comes last, for all text is a str."""
    if get_origin(member) is Literal:
        return 0
    if get_origin(member) is tuple:
        return 4
    return {bool: 1, int: 2, float: 3, AnyFloat: 3, str: 5}.get(member)


@functools.cache
def fields_of(cls: type) -> dict[str, Any]:
    """Return {name: annotation} of the fields that the constructor takes."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def describe(annotation: Any) -> str:
    """Say in words what an annotation allows."""
    schema = schema_of(annotation)
    words = [_describe_plain(member) for member in schema.plain]
    words += [f'a group of settings ({group.__name__})' for group in schema.groups]
    return ' or '.join(words + ['none'] * schema.optional)


def _describe_plain(member: Any) -> str:
    if get_origin(member) is Literal:
        return ' or '.join(repr(value) for value in get_args(member))
    if get_origin(member) is tuple:
        inner = get_args(member)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return f'a list of: {describe(inner[0])}'
        return f'{len(inner)} values ({"; ".join(describe(item) for item in inner)})'
    names = {bool: 'true or false', int: 'a whole number', float: 'a finite number', AnyFloat: 'a number', str: 'a text'}
    return names[member]


class Misfit(Exception):
    """This alternative of a union does not fit; the next one may."""


def misfit(value: Any, annotation: Any, path: str) -> UsageError:
    """Return the error that says what the setting may be, and what it is."""
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + '...'
    hint = ''
    literals = [item for member in schema_of(annotation).plain if get_origin(member) is Literal for item in get_args(member)]
    if isinstance(value, str):
        hint = did_you_mean(value, [item for item in literals if isinstance(item, str)])
    return UsageError(f"'{path or 'The configuration'}' must be {describe(annotation)}, but is {shown}.{hint}")


def fit(value: Any, member: Any) -> Any:
    """Return `value` as the plain type `member`, or raise Misfit. An int is a float, but a bool is no number; a tuple's items are left to
    the caller.
    """
    if get_origin(member) is Literal:
        for item in get_args(member):
            if type(item) is type(value) and item == value:
                return item
        raise Misfit
    if get_origin(member) is tuple:
        if not isinstance(value, list | tuple) or len(item_hints(member, len(value))) != len(value):
            raise Misfit
        return value
    if member in (float, AnyFloat):
        return fit_float(value, member is not float)
    if type(value) is not member:
        raise Misfit
    return value


def fit_float(value: Any, may_be_infinite: bool) -> float:
    """Return `value`, a number or the text of an infinite one, as a float, or raise Misfit."""
    if may_be_infinite and value in ('inf', '-inf', 'nan'):
        return float(value)
    if type(value) not in (int, float) or not (may_be_infinite or math.isfinite(value)):
        raise Misfit
    return float(value)


def item_hints(member: Any, length: int) -> tuple[Any, ...]:
    """Return one annotation per item of a tuple type: `tuple[T, ...]` fits any length, `tuple[A, B]` only two."""
    inner = get_args(member)
    if len(inner) == 2 and inner[1] is Ellipsis:
        return (inner[0],) * length
    return inner


def build(cls: type, values: dict[str, Any], path: str) -> Any:
    """Construct a dataclass; what its own check refuses is reported with the name of the group."""
    try:
        return cls(**values)
    except UsageError as error:
        raise UsageError(f'{path}: {error}' if path else str(error)) from error


def settings_of(config: Any, path: str) -> dict[str, tuple[Any, Any]]:
    """Return {dotted name: (annotation, value)} of every leaf."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, hint in fields_of(type(config)).items():
        value, full = getattr(config, name), joined(path, name)
        if dataclasses.is_dataclass(value):
            if schema_of(hint).needs_kind:
                found[joined(full, KIND)] = (str, type(value).__name__)
            found |= settings_of(value, full)
        else:
            found[full] = (hint, value)
    return found


def joined(path: str, name: str) -> str:
    """Return the dotted name of a setting of the group at `path`; '' is the outermost."""
    return f'{path}.{name}' if path else name
