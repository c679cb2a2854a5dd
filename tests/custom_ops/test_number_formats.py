"""Storage formats: half precision where the compiler has no type for it, against NumPy, number by number."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from custom_ops.jit import load_host

SOURCE = Path(__file__).parent / 'number_formats.cpp'
ALL = np.arange(2**16, dtype=np.uint16)


@pytest.fixture(scope='module')
def library() -> ctypes.CDLL:
    return load_host('number_formats_test', [SOURCE])


def test_every_half_is_the_float_that_it_means(library: ctypes.CDLL) -> None:
    found = np.empty(len(ALL), np.float32)
    library.from_float16(ALL.ctypes.data_as(ctypes.c_void_p), found.ctypes.data_as(ctypes.c_void_p), len(ALL))
    np.testing.assert_array_equal(found.view(np.uint32), ALL.view(np.float16).astype(np.float32).view(np.uint32))


def test_floats_are_rounded_to_the_nearest_half_and_ties_to_even(library: ctypes.CDLL) -> None:
    halves = ALL.view(np.float16).astype(np.float64)
    positive = np.sort(halves[np.isfinite(halves) & (halves >= 0)])
    ties = ((positive[1:] + positive[:-1]) / 2).astype(np.float32)  # representable: one bit more than a half has
    beside = np.concatenate([np.nextafter(ties, np.float32(0)), ties, np.nextafter(ties, np.float32(np.inf))])
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint64).astype(np.uint32)
    special = np.array([0, 65504, 65519.99, 65520, 1e38, np.inf, 1e-45, 2**-25, np.nextafter(np.float32(2**-25), np.float32(1))], np.float32)
    floats = np.concatenate([beside, special, bits.view(np.float32)])
    floats = np.concatenate([floats, -floats])
    found = np.empty(len(floats), np.uint16)
    library.to_float16(floats.ctypes.data_as(ctypes.c_void_p), found.ctypes.data_as(ctypes.c_void_p), len(floats))
    with np.errstate(over='ignore'):
        expected = floats.astype(np.float16)
    number = ~np.isnan(floats)
    np.testing.assert_array_equal(found[number], expected.view(np.uint16)[number])
    assert np.isnan(found.view(np.float16)[~number]).all()
