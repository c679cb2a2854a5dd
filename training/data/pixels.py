"""One image file to RGB, 8 bits per channel: what a file is, seen from its header alone, and how other pixel layouts are converted."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

from training.data.png16 import PNG_SIGNATURE, PngError, read_png16

# Nothing that starts another program (EPS) or is a document (PDF, PSD).
FORMATS = ('PNG', 'JPEG', 'BMP', 'GIF', 'TIFF', 'WEBP', 'PPM', 'TGA')
# What Pillow's decoders raise for damaged files, over the years and formats.
DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError, AssertionError,
    NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError, PngError,
)
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}
_TIFF_BITS_PER_SAMPLE = 258
_LAYOUTS = {
    '1': 'black and white, 1 bit', 'L': 'grey, 8 bits', 'P': 'palette', 'RGBA': 'RGB with transparency', 'LA': 'grey with transparency',
    'PA': 'palette with transparency', 'CMYK': 'CMYK', 'I': 'grey, 32 bits', 'F': 'floating point', 'YCbCr': 'YCbCr', 'LAB': 'Lab',
}


class UnusableImage(Exception):
    """Not an image, or one that cannot be turned into RGB without guessing. The text is a clause about the file."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. Size in pixels as people see it, i.e. after the EXIF rotation."""

    width: int
    height: int
    layout: str | None  # how it differs from plain RGB with 8 bits; None if it does not
    rotated: bool  # EXIF turns or mirrors the stored pixels


def read_header(data: bytes, max_megapixels: float) -> Header:
    """Look at an image file without decoding its pixels. Raises UnusableImage, also for a picture that claims to be larger than allowed."""
    image = _open(data)
    if image.width * image.height > max_megapixels * 1e6:
        raise UnusableImage(
            f'is {image.width}x{image.height}, more than {max_megapixels:g} megapixels; shrink it, or raise --max-megapixels'
        )
    try:
        orientation = _orientation(image)
        layout = _layout(image, data)
    except DECODING_ERRORS as error:
        raise UnusableImage(f'is damaged ({_short(error)})') from error
    rotated = orientation in _TURNS
    width, height = image.size[::-1] if orientation in range(5, 9) else image.size
    return Header(width, height, layout, rotated)


def decode(data: bytes, background: tuple[int, int, int]) -> Image.Image:
    """The picture as people see it, mode RGB; transparent pixels over `background`. Raises UnusableImage.

    Grey is replicated; 16 bits become 8 by the exact v/257, rounded; CMYK needs an embedded ICC profile; only the first frame counts.
    """
    image = _open(data)
    try:
        image.load()
        converted = _to_rgb(image, data, background)
        turn = _TURNS.get(_orientation(image))
        return Image.fromarray(np.asarray(converted if turn is None else converted.transpose(turn)))  # without any metadata
    except DECODING_ERRORS as error:
        raise UnusableImage(f'is damaged or truncated ({_short(error)})') from error


def _orientation(image: Image.Image) -> int:
    # The method of the base class: that of PNG decodes the pixels first, to look for EXIF behind them.
    return Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)


def _open(data: bytes) -> Image.Image:
    if not data:
        raise UnusableImage('is empty (zero bytes)')
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnusableImage('claims an enormous size (a decompression bomb?)') from error
    except Image.UnidentifiedImageError as error:
        raise UnusableImage('is not an image that can be read') from error
    except DECODING_ERRORS as error:
        raise UnusableImage(f'is damaged ({_short(error)})') from error


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:100]


def _layout(image: Image.Image, data: bytes) -> str | None:
    if getattr(image, 'is_animated', False):
        return 'several frames'
    if _is_deep_colour_png(data):
        return '16 bits per channel'
    if image.mode.startswith('I;16'):
        return 'grey, 16 bits'
    if image.mode != 'RGB':
        return _LAYOUTS.get(image.mode, image.mode)
    return 'RGB with a transparent colour' if 'transparency' in image.info else None


def _is_deep_colour_png(data: bytes) -> bool:
    # Pillow keeps only the upper byte of 16-bit colour; grey, colour type 0, it reads in full.
    return data[:8] == PNG_SIGNATURE and len(data) > 25 and data[24] == 16 and data[25] != 0


def _to_rgb(image: Image.Image, data: bytes, background: tuple[int, int, int]) -> Image.Image:
    if _is_deep_colour_png(data):
        return _from_channels(_eight_bits(read_png16(data)), background)
    if image.format == 'TIFF' and max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (8,))) > 8 and image.mode in ('RGB', 'RGBA'):
        raise UnusableImage('is a TIFF with more than 8 bits per colour channel; save it as a 16-bit PNG')
    if image.mode == 'CMYK':
        return _from_cmyk(image)
    if image.mode.startswith('I'):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UnusableImage(f'has grey values {values.min()} .. {values.max()}; only 0 .. 65535 has a known meaning')
        return _from_channels(_eight_bits(values)[:, :, None], background)
    if image.mode == 'F':
        values = np.asarray(image, dtype=np.float64)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise UnusableImage('has floating-point values outside 0 .. 1, whose scale is unknown')
        return _from_channels(np.floor(values * 255 + 0.5).astype(np.uint8)[:, :, None], background)
    if image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa') or 'transparency' in image.info:
        return _from_channels(np.asarray(image.convert('RGBA')), background)
    if image.mode in ('RGB', 'L', '1', 'P', 'YCbCr'):
        return image.convert('RGB')
    raise UnusableImage(f'has the pixel layout {image.mode}, which is not converted')


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """round(v / 257) of 16-bit values: 65535 = 255 * 257, so black and white stay exact."""
    return ((values.astype(np.int64) + 128) // 257).astype(np.uint8)


def _from_channels(pixels: np.ndarray, background: tuple[int, int, int]) -> Image.Image:
    """uint8 [H, W, C], C = grey, grey + alpha, RGB, RGB + alpha -> RGB over the background, rounded."""
    colour, alpha = (pixels[..., :-1], pixels[..., -1:].astype(np.int64)) if pixels.shape[2] in (2, 4) else (pixels, None)
    colour = np.broadcast_to(colour, (*pixels.shape[:2], 3))
    if alpha is not None:
        colour = ((colour * alpha + np.array(background) * (255 - alpha) + 127) // 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(colour))


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get('icc_profile')
    if not profile:
        raise UnusableImage('is CMYK without an ICC profile, so its colours are unknown; save it as RGB')
    try:
        return ImageCms.profileToProfile(image, io.BytesIO(profile), ImageCms.createProfile('sRGB'), outputMode='RGB')
    except (ImageCms.PyCMSError, *DECODING_ERRORS) as error:
        raise UnusableImage(f'is CMYK with an ICC profile that cannot be used ({_short(error)}); save it as RGB') from error
