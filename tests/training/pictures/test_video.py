"""Videos, read back frame by frame."""

import builtins
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import MissingInputError, UsageError
from training.pictures.video import require_format, write_video


def frames(count: int = 5, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """A white square that moves to the right over a coloured ground."""
    made = []
    for index in range(count):
        frame = np.full((height, width, 3), (200, 60, 30), np.uint8)
        frame[8:16, 4 + 6 * index:12 + 6 * index] = 255
        made.append(frame)
    return made


@pytest.mark.parametrize(('height', 'width'), [(32, 48), (33, 47)])
def test_mp4(tmp_path: Path, height: int, width: int) -> None:
    made = frames(height=height, width=width)
    assert write_video(tmp_path / 'a.mp4', iter(made), fps=12.5) == 5
    reader = imageio_ffmpeg.read_frames(str(tmp_path / 'a.mp4'))
    facts = next(reader)
    seen = [np.frombuffer(data, np.uint8).reshape(height + height % 2, width + width % 2, 3) for data in reader]
    assert facts['fps'] == 12.5 and facts['codec'] == 'h264' and 'yuv420p' in facts['pix_fmt'] and len(seen) == 5
    for frame, original in zip(seen, made):
        assert np.abs(frame[:height, :width].astype(int) - original).mean() < 5
    assert [path.name for path in tmp_path.iterdir()] == ['a.mp4']


@pytest.mark.parametrize(('suffix', 'duration_ms'), [('webp', 40), ('gif', 40)])
def test_pillow_formats(tmp_path: Path, suffix: str, duration_ms: int) -> None:
    made = frames()
    assert write_video(tmp_path / f'a.{suffix}', made, fps=25) == 5
    with Image.open(tmp_path / f'a.{suffix}') as video:
        assert video.n_frames == 5 and video.info['loop'] == 0
        for index, original in enumerate(made):
            video.seek(index)
            assert np.abs(np.asarray(video.convert('RGB')).astype(int) - original).mean() < 6
            assert video.info['duration'] == duration_ms


def test_frames_are_taken_one_at_a_time(tmp_path: Path) -> None:
    write_video(tmp_path / 'one.webp', (frame for frame in frames(1)), fps=30)
    write_video(tmp_path / 'one.mp4', (frame for frame in frames(1)), fps=30)
    assert (tmp_path / 'one.webp').stat().st_size > 0 and (tmp_path / 'one.mp4').stat().st_size > 0


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    def breaks():
        yield frames(1)[0]
        raise RuntimeError('the renderer failed')

    for suffix in ('mp4', 'webp'):
        with pytest.raises(RuntimeError, match='the renderer failed'):
            write_video(tmp_path / f'a.{suffix}', breaks())
        with pytest.raises(UsageError, match='frame 1 is uint8'):
            write_video(tmp_path / f'a.{suffix}', [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)])
        with pytest.raises(UsageError, match='at least one frame'):
            write_video(tmp_path / f'a.{suffix}', [])
        with pytest.raises(UsageError, match='positive'):
            write_video(tmp_path / f'a.{suffix}', frames(), fps=0)
    with pytest.raises(UsageError, match="'avi' is not a video format"):
        write_video(tmp_path / 'a.avi', frames())
    assert list(tmp_path.iterdir()) == []


def test_without_imageio_ffmpeg_the_others_still_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_ffmpeg(name, *args, **kwargs):
        if name == 'imageio_ffmpeg':
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_ffmpeg)
    with pytest.raises(MissingInputError, match='pip install imageio-ffmpeg'):
        require_format('mp4')
    with pytest.raises(MissingInputError, match='or write .webp or .gif'):
        write_video(tmp_path / 'a.mp4', frames())
    require_format('webp')
    assert write_video(tmp_path / 'a.gif', frames()) == 5
