"""Meshes to files: .ply, .glb and .obj, each written here so that no package is needed to open one's own shape.

All three keep world units and axes: y up, +z the front, right-handed. That is what glTF asks for. Blender turns .glb by itself; for .ply
and .obj choose "forward -Z, up Y" in its import dialogue.
"""

import json
import struct
from pathlib import Path

import numpy as np

from dnnlib.atomic import atomic_write
from dnnlib.errors import UsageError
from training.meshes.surface import Mesh, outward_normals

FORMATS = ('glb', 'ply', 'obj')


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Writes a mesh in the format of the path's suffix, atomically. Raises UsageError for another suffix."""
    path = Path(path)
    writers = {'.glb': glb_bytes, '.ply': ply_bytes, '.obj': obj_bytes}
    if path.suffix.lower() not in writers:
        raise UsageError(f"'{path.name}': meshes are written as {', '.join(writers)}.")
    with atomic_write(path) as file:
        file.write(writers[path.suffix.lower()](mesh))


def ply_bytes(mesh: Mesh) -> bytes:
    """Binary little-endian PLY with sRGB vertex colours as uchar red, green, blue."""
    fields = [('position', '<f4', 3)]
    colour_lines = []
    if mesh.colours is not None:
        fields.append(('colour', 'u1', 3))
        colour_lines = [f'property uchar {channel}' for channel in ('red', 'green', 'blue')]
    vertices = np.empty(len(mesh.vertices), fields)
    vertices['position'] = mesh.vertices
    if mesh.colours is not None:
        vertices['colour'] = mesh.colours
    faces = np.empty(len(mesh.faces), [('corners', 'u1'), ('indices', '<i4', 3)])
    faces['corners'], faces['indices'] = 3, mesh.faces
    header = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(vertices)}', *(f'property float {axis}' for axis in 'xyz'),
              *colour_lines, f'element face {len(faces)}', 'property list uchar int vertex_indices', 'end_header', '']
    return '\n'.join(header).encode('ascii') + vertices.tobytes() + faces.tobytes()


def obj_bytes(mesh: Mesh) -> bytes:
    """Wavefront OBJ. Colours follow the positions as sRGB in [0, 1] ("v x y z r g b"), which MeshLab, Blender and most others read."""
    rows = mesh.vertices.astype(np.float64)
    if mesh.colours is not None:
        rows = np.concatenate([rows, mesh.colours / 255], axis=1)
    lines = ['v ' + ' '.join(f'{value:.6g}' for value in row) for row in rows.tolist()]
    lines += [f'f {a} {b} {c}' for a, b, c in (mesh.faces + 1).tolist()]
    return ('\n'.join(lines) + '\n').encode('ascii')


def glb_bytes(mesh: Mesh) -> bytes:
    """Binary glTF 2.0 with normals and vertex colours.

    glTF's COLOR_0 is linear light (glTF 2.0, 3.7.2.1), so sRGB is decoded; 8 bits would merge the dark colours, and some readers do not
    understand 16, so it is written in floats. The material is matt: glTF's default is polished metal, which looks black where there is
    nothing to reflect.
    """
    vertices = mesh.vertices.astype('<f4')
    attributes = {'POSITION': (vertices, 5126, 'VEC3'), 'NORMAL': (outward_normals(mesh).astype('<f4'), 5126, 'VEC3')}
    if mesh.colours is not None:
        attributes['COLOR_0'] = (linear_light(mesh.colours).astype('<f4'), 5126, 'VEC3')
    binary, views, accessors = b'', [], []
    for name, (array, component, kind) in [*attributes.items(), ('faces', (mesh.faces.astype('<u4').reshape(-1), 5125, 'SCALAR'))]:
        views.append({'buffer': 0, 'byteOffset': len(binary), 'byteLength': array.nbytes, 'target': 34963 if name == 'faces' else 34962})
        accessor = {'bufferView': len(views) - 1, 'componentType': component, 'count': len(array), 'type': kind}
        if name == 'POSITION':
            accessor |= {'min': vertices.min(0).tolist(), 'max': vertices.max(0).tolist()}
        accessors.append(accessor)
        binary += array.tobytes()
    primitive = {'attributes': {name: index for index, name in enumerate(attributes)}, 'indices': len(attributes), 'material': 0}
    header = {
        'asset': {'version': '2.0', 'generator': 'Unposed'}, 'scene': 0, 'scenes': [{'nodes': [0]}], 'nodes': [{'mesh': 0}],
        'meshes': [{'primitives': [primitive]}], 'materials': [{'pbrMetallicRoughness': {'metallicFactor': 0.0, 'roughnessFactor': 1.0}}],
        'buffers': [{'byteLength': len(binary)}], 'bufferViews': views, 'accessors': accessors}
    text = json.dumps(header, separators=(',', ':')).encode('ascii')
    text += b' ' * (-len(text) % 4)
    binary += b'\0' * (-len(binary) % 4)
    size = 12 + 8 + len(text) + 8 + len(binary)
    return (struct.pack('<4sII', b'glTF', 2, size) + struct.pack('<I4s', len(text), b'JSON') + text
            + struct.pack('<I4s', len(binary), b'BIN\0') + binary)


def linear_light(srgb: np.ndarray) -> np.ndarray:
    """8-bit sRGB as linear light in [0, 1] (IEC 61966-2-1)."""
    value = srgb / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
