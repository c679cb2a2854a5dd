"""Numbers for people."""

import math

import pytest

from dnnlib.errors import UsageError
from dnnlib.units import format_bytes, format_names, format_seconds, parse_seeds


def test_format_seconds() -> None:
    values = [0, 59.4, 59.6, 725, 3599.7, 3 * 3600 + 7 * 60, 86399, 86400 * 2 + 3600 * 4, -5, math.inf, math.nan]
    texts = ['0s', '59s', '1m 00s', '12m 05s', '1h 00m', '3h 07m', '23h 59m', '2d 04h', '-5s', '?', '?']
    assert [format_seconds(value) for value in values] == texts


def test_format_bytes() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1536, 12 * 2**30, 2**60)] == ['0 B', '1023 B', '1.5 KiB', '12.0 GiB', '1048576.0 TiB']


def test_format_names() -> None:
    assert format_names('abc', 3) == 'a, b, c'
    assert format_names(['a', 'b', 'c'], 2) == 'a, b and 1 more'
    assert format_names(['a', 'b', 'c'], 1, '; ') == 'a and 2 more'
    assert format_names(('a', 'b'), 2, '; ') == 'a; b'
    assert format_names([], 2) == ''


def test_parse_seeds() -> None:
    assert parse_seeds('0-3,7') == [0, 1, 2, 3, 7]
    assert parse_seeds(' 5 , 5, 2 - 2 ') == [5, 5, 2]


@pytest.mark.parametrize('text', ['', '1,', 'a', '1-', '-1', '3-1', '1.5', '0-99999999999', '1--2', '١'])
def test_parse_seeds_refuses(text) -> None:
    with pytest.raises(UsageError, match='seeds'):
        parse_seeds(text)
