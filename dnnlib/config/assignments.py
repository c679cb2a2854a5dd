"""Settings by name: what there are, and how `name=text` changes them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from dnnlib.config.schema import (
    KIND,
    Misfit,
    Schema,
    build,
    describe,
    fields_of,
    fit_float,
    item_hints,
    joined,
    misfit,
    schema_of,
    settings_of,
)
from dnnlib.errors import UsageError, did_you_mean

_TRUE, _FALSE, _NONE = ('true', 'yes', 'on', '1'), ('false', 'no', 'off', '0'), ('none', 'null')


def flatten(config: Any) -> dict[str, Any]:
    """Return {dotted name: value} for every setting; a group that is switched off appears as one None."""
    return {name: value for name, (_, value) in settings_of(config, '').items()}


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
    return _override(config, parsed, '', tuple(settings_of(config, '')))


def _override(config: Any, assignments: list[tuple[list[str], str]], path: str, known: tuple[str, ...]) -> Any:
    """Apply (names, text) assignments to one dataclass: its own fields first, then, with what they became, the groups inside."""
    fields = fields_of(type(config))
    changed: dict[str, Any] = {}
    inner: dict[str, list[tuple[list[str], str]]] = {}
    for (name, *rest), text in assignments:
        full = joined(path, name)
        if name not in fields:
            raise _unknown_setting('.'.join([full, *rest]), known)
        if rest:
            inner.setdefault(name, []).append((rest, text))
        else:
            changed[name] = _parse_field(text, fields[name], getattr(config, name), full)
    for name, within in inner.items():
        full, value = joined(path, name), changed.get(name, getattr(config, name))
        if schema_of(fields[name]).needs_kind:
            for kind in (text for rest, text in within if rest == [KIND]):
                changed[name] = value = _of_kind(kind, value, schema_of(fields[name]), full)
            within = [assignment for assignment in within if assignment[0] != [KIND]]
            if not within:
                continue
        if not dataclasses.is_dataclass(value):
            raise _not_a_group(full, value, fields[name], within)
        changed[name] = _override(value, within, full, known)
    if not changed:
        return config
    return build(type(config), {name: getattr(config, name) for name in fields} | changed, path)


def _unknown_setting(full: str, known: tuple[str, ...]) -> UsageError:
    """Name the setting that was probably meant: the same name in another group, else one that is spelled alike."""
    last = full.rpartition('.')[2]
    known = tuple(name for name in known if name.rpartition('.')[2] != KIND)
    elsewhere = [name for name in known if name.rpartition('.')[2] == last]
    hint = f" Did you mean '{elsewhere[0]}'?" if elsewhere else did_you_mean(full, known)
    return UsageError(f"There is no setting '{full}'.{hint or ' --dry-run prints every setting.'}")


def _of_kind(kind: str, current: Any, schema: Schema, path: str) -> Any:
    """The member of the union that is called `kind`, with what it shares with the current one; that one itself if it is of this kind."""
    by_name = {group.__name__: group for group in schema.groups}
    if kind not in by_name:
        raise UsageError(f"'{joined(path, KIND)}' is {kind!r}; it must be one of: {', '.join(by_name)}.{did_you_mean(kind, by_name)}")
    if type(current) is by_name[kind]:
        return current
    shared = fields_of(by_name[kind]).keys() & (fields_of(type(current)).keys() if dataclasses.is_dataclass(current) else set())
    return _switched_on(by_name[kind], path, {name: getattr(current, name) for name in shared})


def _switched_on(cls: type, path: str, values: dict[str, Any]) -> Any:
    """`cls` with these values, and its defaults elsewhere."""
    required = [field.name for field in dataclasses.fields(cls) if (field.default, field.default_factory) == (dataclasses.MISSING,) * 2]
    missing = [name for name in required if name not in values]
    if missing:
        raise UsageError(f"'{path}' cannot be switched on: '{joined(path, missing[0])}' has no default. Start from a preset (--cfg) in which it is on.")
    return build(cls, values, path)


def _not_a_group(full: str, value: Any, annotation: Any, within: list[tuple[list[str], str]]) -> UsageError:
    asked, schema = '.'.join([full, *within[0][0]]), schema_of(annotation)
    if value is None and schema.groups:
        kinds = ', '.join(group.__name__ for group in schema.groups)
        how = f'{joined(full, KIND)}=... (one of: {kinds})' if schema.needs_kind else f'{full}=on'
        return UsageError(f"Cannot set '{asked}': '{full}' is none (switched off) in this configuration. Switch it on with {how}, or leave '{asked}' away.")
    return UsageError(f"Cannot set '{asked}': '{full}' is a single setting ({describe(annotation)}), not a group of settings.")


def _parse_field(text: str, annotation: Any, current: Any, path: str) -> Any:
    """Read the text of an assignment to one field."""
    schema = schema_of(annotation)
    if len(schema.groups) == 1 and schema.optional and text.lower() in _TRUE:
        return current if dataclasses.is_dataclass(current) else _switched_on(schema.groups[0], path, {})
    if schema.groups and not (schema.optional and text.lower() in _NONE):
        members = ', '.join(joined(path, name) for name in fields_of(type(current))) if dataclasses.is_dataclass(current) else ''
        off = f' or switch it off with {path}=none' if schema.optional else ''
        on = f'{joined(path, KIND)}=...' if schema.needs_kind else f'{path}=on'
        other = f', or take another kind with {on}' if schema.needs_kind else ''
        how = f'Set its members ({members}) one by one{other}{off}.' if members else f'Switch it on with {on}.'
        raise UsageError(f"'{path}' is a group of settings and cannot be set to {text!r}. {how}")
    return _parse(text, annotation, path)


def _parse(text: str, annotation: Any, path: str) -> Any:
    """Read text as the first alternative of the annotation that fits."""
    schema = schema_of(annotation)
    if schema.optional and text.lower() in _NONE:
        return None
    for member in schema.plain:
        try:
            return _parse_plain(text, member, path)
        except Misfit:
            continue
    raise misfit(text, annotation, path)


def _parse_plain(text: str, member: Any, path: str) -> Any:
    if get_origin(member) is Literal:
        return _parse_literal(text, get_args(member))
    if get_origin(member) is tuple:
        items = _split_items(text)
        hints = item_hints(member, len(items))
        if len(hints) != len(items):
            raise Misfit
        return tuple(_parse(item, hint, joined(path, str(i))) for i, (item, hint) in enumerate(zip(items, hints, strict=True)))
    if member is bool:
        if text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        raise Misfit
    if member is str:
        return text
    try:
        value = int(text) if member is int else float(text)
    except ValueError:
        raise Misfit from None
    return value if member is int else fit_float(value, member is not float)


def _parse_literal(text: str, items: tuple[Any, ...]) -> Any:
    for item in items:
        as_text = str(item).lower() if isinstance(item, bool) or item is None else str(item)
        if text == as_text:
            return item
    raise Misfit


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
