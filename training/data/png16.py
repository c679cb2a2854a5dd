"""PNG with 16 bits per colour channel, which Pillow reads only in part: all 16 bits of it (PNG specification, sections 7 to 10)."""

from __future__ import annotations

import struct
import zlib

import numpy as np

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_CHANNELS = {2: 3, 4: 2, 6: 4}  # colour type: RGB, grey + alpha, RGB + alpha


class PngError(Exception):
    """The file is damaged or uses a part of PNG that is not read here."""


def read_png16(data: bytes) -> np.ndarray:
    """Pixels of a 16-bit RGB, RGBA or grey + alpha PNG: uint16 [H, W, C]. Raises PngError."""
    chunks = _chunks(data)
    width, height, depth, colour, _, _, interlaced = struct.unpack('>IIBBBBB', chunks[b'IHDR'])
    if depth != 16 or colour not in _CHANNELS:
        raise PngError(f'colour type {colour} with {depth} bits')
    if interlaced or b'tRNS' in chunks:
        raise PngError('16-bit PNG that is interlaced or has a transparent colour; save it without')
    pixel = 2 * _CHANNELS[colour]
    size = height * (width * pixel + 1)
    raw = zlib.decompressobj().decompress(chunks[b'IDAT'], size)
    if len(raw) < size:
        raise PngError('truncated')
    rows = np.frombuffer(raw, dtype=np.uint8).reshape(height, -1)
    return _unfiltered(rows, pixel).reshape(height, width, -1, 2).astype(np.uint16) @ np.array([256, 1], dtype=np.uint16)


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Chunks by type; the pieces of IDAT joined."""
    found: dict[bytes, list[bytes]] = {}
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, at)
        body = data[at + 8 : at + 8 + length]
        if data[at + 8 + length : at + 12 + length] != struct.pack('>I', zlib.crc32(kind + body)):
            raise PngError(f'chunk {kind!r} is damaged')
        found.setdefault(kind, []).append(body)
        at += 12 + length
    if not found.keys() >= {b'IHDR', b'IDAT', b'IEND'} or len(found[b'IHDR'][0]) != 13:
        raise PngError('truncated')
    if len(found[b'IHDR']) > 1:  # another reader may believe the other one
        raise PngError('two headers')
    return {kind: b''.join(bodies) if kind == b'IDAT' else bodies[0] for kind, bodies in found.items()}


def _unfiltered(rows: np.ndarray, pixel: int) -> np.ndarray:
    """Undo the filter of each row (its first byte): uint8 [H, W * pixel]."""
    above = np.zeros(rows.shape[1] - 1, dtype=np.uint8)
    out = np.empty((rows.shape[0], rows.shape[1] - 1), dtype=np.uint8)
    for y, row in enumerate(rows):
        kind, line = row[0], row[1:]
        if kind == 0:
            above = line
        elif kind == 1:
            above = np.cumsum(line.reshape(-1, pixel), axis=0, dtype=np.uint8).ravel()
        elif kind == 2:
            above = line + above
        elif kind in (3, 4):
            above = _sequential(line.tolist(), above.tolist(), pixel, paeth=kind == 4)
        else:
            raise PngError(f'unknown filter {kind}')
        out[y] = above
    return out


def _sequential(line: list[int], above: list[int], pixel: int, paeth: bool) -> np.ndarray:
    """The two filters whose bytes depend on the byte just decoded: average and Paeth."""
    done = [0] * pixel
    above = [0] * pixel + above
    for i, value in enumerate(line):
        left, up, corner = done[i], above[i + pixel], above[i]
        if paeth:
            to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            guess = left if to_left <= to_up and to_left <= to_corner else up if to_up <= to_corner else corner
        else:
            guess = (left + up) // 2
        done.append((value + guess) & 255)
    return np.array(done[pixel:], dtype=np.uint8)
