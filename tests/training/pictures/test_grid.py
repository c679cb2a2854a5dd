"""Eight-bit pictures and grids of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dnnlib.errors import NumericalError, UsageError
from training.pictures.grid import near_square, parse_shape, save_grid, save_picture, shrink_to_fit, tile, to_pictures


def test_values_map_as_documented() -> None:
    values = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]).reshape(1, 1, 1, 6)
    assert to_pictures(values)[0, 0, :, 0].tolist() == [0, 0, 128, 191, 255, 255]


def test_every_byte_comes_back() -> None:
    bytes_in = torch.arange(256).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert np.array_equal(to_pictures(bytes_in / 127.5 - 1)[0], bytes_in[0].permute(1, 2, 0).numpy())


def test_broken_images_are_not_painted_black() -> None:
    images = torch.zeros(2, 3, 4, 4)
    images[1, 0, 0, 0] = torch.nan
    with pytest.raises(NumericalError, match='1 of 96 values'):
        to_pictures(images)


def test_tiles_lie_row_by_row() -> None:
    pictures = np.stack([np.full((2, 3, 3), index, np.uint8) for index in range(5)])
    grid = tile(pictures, columns=3, rows=2, blank=99)
    assert grid.shape == (4, 9, 3)
    assert grid[::2, ::3, 0].tolist() == [[0, 1, 2], [3, 4, 99]]
    with pytest.raises(UsageError, match='4 cells, but there are 5'):
        tile(pictures, 2, 2)


@pytest.mark.parametrize('count', range(1, 50))
def test_near_square_holds_all_and_wastes_no_row(count: int) -> None:
    columns, rows = near_square(count)
    assert columns * rows >= count > columns * (rows - 1) and rows <= columns <= rows + 1


def test_shapes_are_columns_by_rows() -> None:
    assert parse_shape('4x2') == (4, 2) and parse_shape(' 10 x 1 ') == (10, 1)
    for wrong in ('4', '4x', '0x2', '-1x2', '4x2x1', 'axb', '1.5x2'):
        with pytest.raises(UsageError, match='COLUMNSxROWS'):
            parse_shape(wrong)


def test_only_grids_that_are_too_large_are_reduced() -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3)).astype(np.uint8)
    assert shrink_to_fit(pictures, 3, 2, 24) is pictures
    reduced = shrink_to_fit(pictures, 3, 2, 12)
    assert reduced.shape == (6, 4, 4, 3)
    assert np.abs(reduced - pictures.reshape(6, 4, 2, 4, 2, 3).mean((2, 4))).max() <= 1, 'area average'


def test_files_are_exact_and_leave_nothing_behind(tmp_path: Path) -> None:
    images = torch.rand(5, 3, 6, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    save_grid(tmp_path / 'grid.png', images)
    with Image.open(tmp_path / 'grid.png') as picture:
        assert np.array_equal(np.asarray(picture), tile(to_pictures(images), 3, 2))
    with pytest.raises(UsageError, match="'a.bmp'"):
        save_picture(tmp_path / 'a.bmp', np.zeros((2, 2, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ['grid.png']
