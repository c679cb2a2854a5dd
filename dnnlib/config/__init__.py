"""Configurations are nested frozen dataclasses, turned into JSON-able data and back, and changed by `name.field=text`.

The annotations are the schema. A field is a bool, int, float, str, Literal, None, tuple, another dataclass, or a union of these. Where a
union has several dataclasses, the data name the one that was meant under the key "kind"; the name is looked up among the members of the
union and nowhere else, so no file can name a class into existence. A dataclass checks its own values in `__post_init__` by raising
UsageError.
"""

from dnnlib.config.assignments import flatten, override
from dnnlib.config.data import from_dict, to_dict
from dnnlib.config.schema import KIND, AnyFloat

__all__ = ['KIND', 'AnyFloat', 'flatten', 'from_dict', 'override', 'to_dict']
