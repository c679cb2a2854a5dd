"""Mesh files, read back by somebody else's reader."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dnnlib.errors import UsageError
from training.meshes.files import glb_bytes, linear_light, obj_bytes, write_mesh
from training.meshes.surface import Mesh

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
COLOURS = np.array([[255, 0, 0], [0, 128, 0], [10, 20, 30], [255, 255, 255]], np.uint8)
TETRAHEDRON = Mesh(VERTICES, FACES, COLOURS)


def read(path: Path) -> trimesh.Trimesh:
    return trimesh.load(path, force='mesh', process=False)


@pytest.mark.parametrize('suffix', ['ply', 'glb', 'obj'])
@pytest.mark.parametrize('mesh', [TETRAHEDRON, Mesh(VERTICES, FACES)], ids=['colours', 'plain'])
def test_geometry_survives(tmp_path: Path, suffix: str, mesh: Mesh) -> None:
    write_mesh(tmp_path / f'a.{suffix}', mesh)
    back = read(tmp_path / f'a.{suffix}')
    assert np.array_equal(back.vertices, VERTICES) and np.array_equal(back.faces, FACES)
    assert back.volume == pytest.approx(1.0) and back.volume == pytest.approx(mesh.volume)
    assert [path.name for path in tmp_path.iterdir()] == [f'a.{suffix}'], 'no temporary file stays behind'


@pytest.mark.parametrize('suffix', ['ply', 'obj'])
def test_colours_survive_as_srgb(tmp_path: Path, suffix: str) -> None:
    write_mesh(tmp_path / f'a.{suffix}', TETRAHEDRON)
    back = read(tmp_path / f'a.{suffix}').visual.vertex_colors[:, :3]
    assert np.abs(back.astype(int) - COLOURS).max() <= (0 if suffix == 'ply' else 1)


def test_glb_is_binary_gltf_with_linear_colours() -> None:
    data = glb_bytes(TETRAHEDRON)
    magic, version, size, json_size, json_kind = struct.unpack_from('<4sIII4s', data)
    assert (magic, version, size, json_kind) == (b'glTF', 2, len(data), b'JSON') and json_size % 4 == 0
    header = json.loads(data[20:20 + json_size])
    binary_size, binary_kind = struct.unpack_from('<I4s', data, 20 + json_size)
    assert binary_kind == b'BIN\0' and binary_size % 4 == 0 and header['buffers'][0]['byteLength'] <= binary_size
    accessors = header['accessors']
    position = accessors[header['meshes'][0]['primitives'][0]['attributes']['POSITION']]
    assert position['min'] == [0, 0, 0] and position['max'] == [1, 2, 3] and position['count'] == 4
    colour = accessors[header['meshes'][0]['primitives'][0]['attributes']['COLOR_0']]
    view = header['bufferViews'][colour['bufferView']]
    start = 28 + json_size + view['byteOffset']
    linear = np.frombuffer(data[start:start + view['byteLength']], '<f4').reshape(4, 3)
    assert np.allclose(linear, linear_light(COLOURS), atol=1e-6)
    assert linear_light(np.array([128]))[0] == pytest.approx(0.2159, abs=1e-4)
    assert header['materials'][0]['pbrMetallicRoughness']['metallicFactor'] == 0
    # With its material, trimesh would put the colours into an attribute.
    seen = trimesh.load(io.BytesIO(data), file_type='glb', force='mesh', process=False, skip_materials=True).visual.vertex_colors
    assert np.abs(seen[:, :3] - linear_light(COLOURS) * 255).max() <= 1


def test_the_same_mesh_gives_the_same_bytes() -> None:
    assert glb_bytes(TETRAHEDRON) == glb_bytes(TETRAHEDRON) and obj_bytes(TETRAHEDRON) == obj_bytes(TETRAHEDRON)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'a.stl': meshes are written as .glb, .ply, .obj"):
        write_mesh(tmp_path / 'a.stl', TETRAHEDRON)
