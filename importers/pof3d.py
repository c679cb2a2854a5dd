"""PoF3D: from the published parameter names to ours, and the configuration under which our networks compute what theirs do.

Source: the names, shapes and conventions of the released code of PoF3D (arXiv 2301.07702). Its networks are those of EG3D, and so are most
rules here (importers.eg3d), with two layers in the generator that invent a pose and two in the discriminator that read one. These poses are
free angles; the law 'PoF3D_2023' of training.networks.pose gives them that meaning, and none of our own models has it.
"""

from collections.abc import Mapping as MappingType
from dataclasses import replace
from typing import Any

from torch import Tensor

from dnnlib.errors import DataError
from importers import eg3d
from training.cameras.convention import focal_to_fov
from training.cameras.rig import Rig
from training.networks.discriminator import DiscriminatorConfig
from training.networks.generator3d import GeneratorConfig
from training.networks.pose import NUMBERS, PoseLearnerConfig, PoseReaderConfig

# What PoF3D has and EG3D has not, without the last part of the name.
_GENERATOR_LAYERS = {
    'backbone.mapping.affine_layer1': 'pose_learner.hidden',
    'backbone.mapping.affine_layer2': 'pose_learner.out',
}
_DISCRIMINATOR_LAYERS = {
    'mapping.embed': 'realness.mapping_network.embed_pose',  # EG3D's embeds a camera
    'b4.cam_out1': 'reader.hidden',
    'b4.cam_out2': 'reader.out',
}


def generator_name(published: str) -> str | None:
    """Our name of a published generator tensor; None for one that we do not need. Raises DataError for a name that PoF3D does not have."""
    return _own_name(published, _GENERATOR_LAYERS) or eg3d.generator_name(published)


def discriminator_name(published: str) -> str | None:
    """Our name of a published discriminator tensor; None for one that we do not need. Raises DataError for an unknown name."""
    return _own_name(published, _DISCRIMINATOR_LAYERS) or eg3d.discriminator_name(published)


def generator_weights(published: MappingType[str, Tensor], rendering: MappingType[str, Any]) -> dict[str, Tensor]:
    """A state dict for Generator3D(generator_config(...)) from the published one, parameters and buffers by name (values unchanged)."""
    own, shared = _split(published, _GENERATOR_LAYERS)
    return eg3d.generator_weights(shared, rendering) | own


def discriminator_weights(published: MappingType[str, Tensor]) -> dict[str, Tensor]:
    """A state dict for Discriminator from the published one (values unchanged)."""
    own, shared = _split(published, _DISCRIMINATOR_LAYERS)
    return eg3d.discriminator_weights(shared) | own


def generator_config(
    shapes: eg3d.Shapes, rendering: MappingType[str, Any], render_resolution: int, *, focal: float, pose_lr_multiplier: float = 0.01
) -> GeneratorConfig:
    """The configuration that reproduces a published generator.

    `shapes`, `rendering` and `render_resolution` are those of importers.eg3d.generator_config. A checkpoint does not say with which `focal`
    length, in image widths, it was trained (4.2647 for the published faces, 4.2634 for the cats, 1.0254 for the cars), nor by how much the
    pose layers were slowed down, by which their weights are multiplied. Raises DataError for a pose of other than two angles.
    """
    _check_pose_layers(shapes, 'backbone.mapping.affine_layer2.weight')
    base = eg3d.generator_config(shapes, rendering, render_resolution)
    return replace(
        base,
        rendering=replace(base.rendering, axes='EG3D_2022' if _given(rendering, 'wrong') else 'three_planes'),
        superres=replace(base.superres, antialias=False),
        pose=PoseLearnerConfig(
            law='PoF3D_2023',
            lr_multiplier=pose_lr_multiplier,
            yaw_mean_rad=float(_given(rendering, 'h_mean')),
            yaw_clip_rad=_limits(rendering, 'clamp_h'),
            pitch_clip_rad=_limits(rendering, 'clamp_v'),
            rig=Rig(
                radius=float(_given(rendering, 'avg_camera_radius')),
                fov_x_deg=focal_to_fov(focal),
                target=tuple(float(x) for x in _given(rendering, 'avg_camera_pivot')),
            ),
        ),
    )


def discriminator_config(shapes: eg3d.Shapes, mbstd_group: int = 4, rig: Rig | None = None) -> DiscriminatorConfig:
    """The configuration that reproduces a published discriminator. `rig`, its generator's, makes cameras of what it reads.

    The published code asks it twice for each picture, first for the pose and then for the score under that pose. Ours is asked once.
    """
    _check_pose_layers(shapes, 'b4.cam_out2.weight')
    return replace(
        eg3d.discriminator_config(shapes, mbstd_group),
        conditions_on_camera=False,
        conditions_on_pose=True,
        pose=PoseReaderConfig(law='PoF3D_2023', hidden=shapes['b4.cam_out1.weight'][0], rig=rig or Rig()),
    )


def _own_name(published: str, layers: dict[str, str]) -> str | None:
    layer, _, kind = published.rpartition('.')
    return f'{layers[layer]}.{kind}' if layer in layers and kind in ('weight', 'bias') else None


def _split(published: MappingType[str, Tensor], layers: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(What EG3D has not, by our names; the rest, by published names.)"""
    names = {name: _own_name(name, layers) for name in published}
    own = {ours: published[name] for name, ours in names.items() if ours}
    return own, {name: published[name] for name, ours in names.items() if not ours}


def _check_pose_layers(shapes: eg3d.Shapes, last: str) -> None:
    expected = NUMBERS['PoF3D_2023']
    if last not in shapes:
        raise DataError(f'there is no {last!r}: this file is not from PoF3D, or from its variant with one pose layer, unknown here')
    if shapes[last][0] != expected:
        raise DataError(f'{last!r} gives {shapes[last][0]} numbers; only poses of {expected} are supported, yaw and pitch')


def _given(rendering: MappingType[str, Any], name: str) -> Any:
    if name not in rendering:
        raise DataError(f'the PoF3D rendering options lack {name!r}; present are {", ".join(sorted(rendering))}')
    return rendering[name]


def _limits(rendering: MappingType[str, Any], name: str) -> tuple[float, float] | None:
    """The two limits of an angle; None for an angle that is free."""
    limits = rendering.get(name)
    return None if limits is None else (float(limits[0]), float(limits[1]))
