"""Frames to a video file: .mp4 through imageio-ffmpeg (extra `video`), .webp and .gif by Pillow, which is always there."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
from PIL import Image

from dnnlib.atomic import atomic_write
from dnnlib.errors import MissingInputError, StorageError, UsageError

FORMATS = ('mp4', 'webp', 'gif')


def require_format(video_format: str) -> None:
    """Raises unless this machine can write the format: to be asked before an hour of rendering, not after."""
    if video_format not in FORMATS:
        raise UsageError(f"'{video_format}' is not a video format; choose one of {', '.join(FORMATS)}.")
    if video_format == 'mp4':
        _imageio_ffmpeg()


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float = 30.0) -> int:
    """Writes frames uint8 [H, W, 3] (all of one size) and returns how many there were. The suffix of the path decides the format.

    .mp4 is H.264 with 4:2:0 colour, which every player knows; it wants even sides, so an odd picture gets its last row or column twice.
    .gif knows delays of whole hundredths of a second only: the frame rate is rounded to 100 / round(100 / fps).
    The file is written atomically, and frames are consumed one at a time (.webp and .gif hold them all).

    Raises UsageError (no frames, unequal sizes, unknown suffix, fps <= 0), MissingInputError (.mp4 without imageio-ffmpeg), StorageError
    (ffmpeg failed).
    """
    path = Path(path)
    video_format = path.suffix.lower().removeprefix('.')
    require_format(video_format)
    if not fps > 0:
        raise UsageError(f'a video needs a positive number of frames per second, got {fps}.')
    counted = _Counted(frames, path.name)
    with atomic_write(path) as file:
        if video_format == 'mp4':
            _write_mp4(file, counted, fps)
        else:
            _write_by_pillow(file, counted, fps, video_format)
    return counted.count


class _Counted:
    """The frames, checked on their way: the same size each, and at least one."""

    def __init__(self, frames: Iterable[np.ndarray], name: str) -> None:
        self._frames = iter(frames)
        self._name = name
        self.count = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        shape = None
        for frame in self._frames:
            shape = frame.shape if shape is None else shape
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape != shape:
                found = f'{frame.dtype} {list(frame.shape)}'
                raise UsageError(f'{self._name}: frame {self.count} is {found}; all must be uint8 {list(shape)}.')
            self.count += 1
            yield frame
        if self.count == 0:
            raise UsageError(f'{self._name}: a video needs at least one frame.')


def _write_mp4(file: BinaryIO, frames: Iterable[np.ndarray], fps: float) -> None:
    ffmpeg = _imageio_ffmpeg()
    even = (np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode='edge') for frame in frames)
    first = next(even)
    with tempfile.TemporaryDirectory() as folder:     # ffmpeg writes to a path, not to an open file
        unfinished = Path(folder) / 'video.mp4'
        encoder = ffmpeg.write_frames(
            str(unfinished), (first.shape[1], first.shape[0]), fps=fps, codec='libx264', pix_fmt_out='yuv420p', macro_block_size=1,
            quality=None, ffmpeg_log_level='error', output_params=['-crf', '16', '-movflags', '+faststart'])
        try:
            encoder.send(None)
            for frame in chain([first], even):
                encoder.send(np.ascontiguousarray(frame))
        except OSError as error:
            raise StorageError(f'ffmpeg could not write the video: {error}') from error
        finally:
            encoder.close()
        if not unfinished.exists() or unfinished.stat().st_size == 0:
            raise StorageError('ffmpeg ended without writing the video.')
        with unfinished.open('rb') as finished:
            shutil.copyfileobj(finished, file)


def _write_by_pillow(file: BinaryIO, frames: Iterable[np.ndarray], fps: float, video_format: str) -> None:
    first, *others = (Image.fromarray(frame) for frame in frames)
    if video_format == 'webp':
        first.save(file, format='WEBP', save_all=True, append_images=others, duration=round(1000 / fps), loop=0, quality=90, method=2)
    else:
        hundredths = max(2, round(100 / fps))         # browsers slow a delay of 0 or 1 down to 10
        first.save(file, format='GIF', save_all=True, append_images=others, duration=10 * hundredths, loop=0)


def _imageio_ffmpeg() -> ModuleType:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingInputError(
            "an .mp4 video is written by ffmpeg, which the package imageio-ffmpeg brings, and it is not installed here. Install it "
            "(pip install imageio-ffmpeg, or this project's extra: pip install '.[video]'), or write .webp or .gif, which need nothing.",
        ) from error
    return imageio_ffmpeg
