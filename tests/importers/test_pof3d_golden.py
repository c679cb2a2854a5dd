"""Published PoF3D, number by number: random weights, and what the published code computed from them on a CPU in float32.

The values lie beside the repository, in shared/golden, and are not part of a clone. Without them the same file builds the published tensors
from their names, with random values, and asks for the same strict loading and for finite results of the right shapes.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from importers import pof3d
from training.cameras.camera import Camera
from training.networks.discriminator import Discriminator, Judgement
from training.networks.generator3d import Generator3D
from training.networks.outputs import Output

TOLERANCE = 1e-4  # relative to the largest value


@dataclass
class Published:
    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    options: dict
    render_resolution: int
    z: Tensor
    intrinsics: Tensor  # [N, 3, 3]
    outputs: dict[str, Tensor]  # empty where nobody knows them


def read(path: Path) -> Published:
    tensors = load_file(path)
    with safe_open(path, 'pt') as file:
        header = file.metadata()

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    options, resolution = json.loads(header['rendering']), json.loads(header['config'])['neural_rendering_resolution']
    intrinsics = tensors['in.c'][:, 16:].unflatten(1, (3, 3))
    return Published(part('G.'), part('D.'), options, resolution, tensors['in.z'], intrinsics, part('out.') | part('D_out.'))


def imitation(shapes: tuple) -> Published:
    """Random values under the published names, at the scales at which they are stored."""
    generator_shapes, discriminator_shapes, superres, resolution = shapes
    source = torch.Generator().manual_seed(0)

    def values(table: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
        scales = {name: 100 if '.fc' in f'.{name}' or '.affine_layer' in name else 1 for name in table}
        return {name: torch.randn(shape, generator=source) * scales[name] for name, shape in table.items()}

    options = {
        'depth_resolution': 8, 'depth_resolution_importance': 8, 'ray_start': 2.25, 'ray_end': 3.3, 'box_warp': 1, 'wrong': True,
        'avg_camera_radius': 2.7, 'avg_camera_pivot': [0, 0, 0.2], 'h_mean': math.pi / 2, 'clamp_v': [0, math.pi],
        'superresolution_module': superres,
    }
    intrinsics = torch.tensor([[4.2634, 0, 0.5], [0, 4.2634, 0.5], [0, 0, 1]]).repeat(2, 1, 1)
    z = torch.randn(2, 64, generator=source)
    return Published(values(generator_shapes), values(discriminator_shapes), options, resolution, z, intrinsics, {})


@pytest.fixture(scope='module')
def published(golden: Path, pof3d_small: tuple) -> Published:
    path = golden / 'pof3d-small.safetensors'
    return read(path) if path.is_file() else imitation(pof3d_small)


@pytest.fixture(scope='module')
def generator(published: Published) -> Generator3D:
    shapes = {name: tuple(tensor.shape) for name, tensor in published.generator.items()}
    focal = published.intrinsics[0, 0, 0].item()
    net = Generator3D(pof3d.generator_config(shapes, published.options, published.render_resolution, focal=focal))
    net.load_state_dict(pof3d.generator_weights(published.generator, published.options))  # strict: every place filled, nothing left
    return net.requires_grad_(False)


@dataclass
class Found:
    ws: Tensor
    pose: Tensor
    camera: Camera
    planes: Tensor
    seen: Output


@pytest.fixture(scope='module')
def found(published: Published, generator: Generator3D) -> Found:
    """From the latents to pictures, each taken by the camera that the generator invents."""
    ws = generator.mapping(published.z)
    pose = generator.pose(ws[:, 0])
    camera = generator.pose_learner.camera(pose)
    planes = generator.planes(ws, noise='const')
    return Found(ws, pose, camera, planes, generator.render(planes, ws, camera))


def agree(published: Published, name: str, ours: Tensor) -> None:
    assert ours.isfinite().all(), name
    if published.outputs:
        theirs = published.outputs[name]
        assert ours.shape == theirs.shape, name
        error = (ours - theirs).abs().max() / theirs.abs().max()
        assert error <= TOLERANCE, f'{name}: off by {error:.1e} of the largest value'


def test_latents_and_planes(published, found):
    """The file has no planes; what is rendered from them below would not agree if they were others."""
    assert found.ws.shape == (2, 14, 512) and found.planes.shape == (2, 3, 32, 256, 256) and found.planes.isfinite().all()
    agree(published, 'mapping.ws', found.ws)
    agree(published, 'mapping.before_repeat_w', found.ws[:, 0])


def test_poses_and_cameras(published, found):
    assert found.pose.shape == (2, 2)
    agree(published, 'mapping.cam_pose', found.pose)
    agree(published, 'mapping.c2w', found.camera.world_from_camera)
    torch.testing.assert_close(found.camera.intrinsics, published.intrinsics)


def test_pictures_and_depth(published, found):
    assert found.seen.image.shape == (2, 3, 256, 256) and found.seen.image_raw.shape == (2, 3, 32, 32)
    agree(published, 'image', found.seen.image)
    agree(published, 'image_raw', found.seen.image_raw)
    agree(published, 'image_depth', found.seen.depth)


@pytest.fixture(scope='module')
def judged(published: Published, found: Found) -> Judgement:
    """What the discriminator says of these pictures: the published code asked for the pose and then, knowing it, for the score."""
    shapes = {name: tuple(tensor.shape) for name, tensor in published.discriminator.items()}
    net = Discriminator(pof3d.discriminator_config(shapes))
    net.load_state_dict(pof3d.discriminator_weights(published.discriminator))
    pictures = published.outputs or {'image': found.seen.image, 'image_raw': found.seen.image_raw}
    with torch.no_grad():
        judged = net.judge(pictures['image'], pictures['image_raw'])
        torch.testing.assert_close(net.read_pose(pictures['image'], pictures['image_raw']), judged.pose)
        told = net.judge(pictures['image'], pictures['image_raw'], pose=judged.pose)
    torch.testing.assert_close(told.logits, judged.logits)
    return judged


def test_the_pose_that_is_read_and_the_score_under_it(published, judged):
    assert judged.pose.shape == (2, 2) and judged.logits.shape == (2,)
    agree(published, 'pose', judged.pose)
    agree(published, 'score', judged.logits[:, None])
