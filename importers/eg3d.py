"""EG3D: from the published parameter names to ours, and the configuration under which our networks compute what theirs do.

Source: the names, shapes and conventions of the released checkpoints of EG3D (arXiv 2112.07945); sizes are read off the shapes.
The published rules that our own models do not follow (third plane, sampling, importance) are switched on by name in the configuration.
"""

import math
import re
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dnnlib.errors import DataError
from training.networks.discriminator import DiscriminatorConfig
from training.networks.generator3d import GeneratorConfig
from training.networks.layers import normalise_second_moment
from training.networks.mapping import MappingConfig
from training.networks.radiance import RadianceConfig
from training.networks.superres import SuperresConfig
from training.networks.synthesis import SynthesisConfig
from training.rendering.renderer import RenderingConfig

Shapes = MappingType[str, tuple[int, ...]]

PUBLISHED_CLAMP = 256.0  # of the networks that may run in 16 bit: discriminator and super-resolution, not the backbone

# Options of the published rendering dictionary that a checkpoint may lack, and what its code assumes then.
_OPTION_DEFAULTS: dict[str, Any] = {
    'c_gen_conditioning_zero': False,
    'c_scale': 1.0,
    'clamp_mode': 'softplus',
    'decoder_lr_mul': 1.0,
    'disparity_space_sampling': False,
    'sr_antialias': True,
    'superresolution_noise_mode': 'none',
    'white_back': False,
}


@dataclass(frozen=True, slots=True)
class SuperresLayout:
    """One published super-resolution class: the side to which rendered features are resized, and whether its first block upsamples."""

    input_resolution: int
    first_block_upsamples: bool


# By the last part of the class name that a checkpoint carries.
SUPERRES_LAYOUTS = {
    'SuperresolutionHybrid8XDC': SuperresLayout(128, True),
    'SuperresolutionHybrid8X': SuperresLayout(128, True),
    'SuperresolutionHybrid4X': SuperresLayout(128, False),
    'SuperresolutionHybrid2X': SuperresLayout(64, False),
}

# Every published name matches exactly one rule; the replacement is our name, None means that we do not need the tensor.
_LAYER = r'(weight|bias|noise_strength|noise_const|affine\.weight|affine\.bias)'
_GENERATOR_RULES: tuple[tuple[str, str | None], ...] = (
    (r'backbone\.mapping\.embed\.(weight|bias)', r'mapping_network.embed_camera.\1'),
    (r'backbone\.mapping\.fc(\d+)\.(weight|bias)', r'mapping_network.layers.\1.\2'),
    (r'backbone\.mapping\.w_avg', r'mapping_network.w_avg'),
    (r'backbone\.synthesis\.b4\.const', r'synthesis.r4.const'),
    (rf'backbone\.synthesis\.b4\.conv1\.{_LAYER}', r'synthesis.r4.conv1.\1'),
    (rf'backbone\.synthesis\.b4\.torgb\.{_LAYER}', r'synthesis.r4.to_image.\1'),
    (rf'backbone\.synthesis\.b(\d+)\.(conv[01])\.{_LAYER}', r'synthesis.blocks.r\1.\2.\3'),
    (rf'backbone\.synthesis\.b(\d+)\.torgb\.{_LAYER}', r'synthesis.blocks.r\1.to_image.\2'),
    (rf'superresolution\.block(\d+)\.(conv[01])\.{_LAYER}', r'superres.blocks.\1.\2.\3'),
    (rf'superresolution\.block(\d+)\.torgb\.{_LAYER}', r'superres.blocks.\1.to_image.\2'),
    (r'decoder\.net\.(\d*[02468])\.(weight|bias)', r'radiance.layers.\1.\2'),
    (r'(.*\.)?resample_filter', None),  # always the same constant
    (r'dataset_label_std', None),  # bookkeeping of the published training loop
)
_DISCRIMINATOR_RULES: tuple[tuple[str, str | None], ...] = (
    (r'b\d+\.fromrgb\.(weight|bias)', r'trunk.from_image.\1'),
    (r'b4\.conv\.(weight|bias)', r'trunk.conv.\1'),
    (r'b4\.fc\.(weight|bias)', r'realness.dense.\1'),
    (r'b4\.out\.(weight|bias)', r'realness.out.\1'),
    (r'b(\d+)\.conv0\.(weight|bias)', r'trunk.blocks.r\1.conv0.\2'),
    (r'b(\d+)\.conv1\.(weight|bias)', r'trunk.blocks.r\1.conv1.\2'),
    (r'b(\d+)\.skip\.weight', r'trunk.blocks.r\1.skip.weight'),
    (r'mapping\.embed\.(weight|bias)', r'realness.mapping_network.embed_camera.\1'),
    (r'mapping\.fc(\d+)\.(weight|bias)', r'realness.mapping_network.layers.\1.\2'),
    (r'(.*\.)?resample_filter', None),
)


def generator_name(published: str) -> str | None:
    """Our name of a published generator tensor; None for one that we do not need. Raises DataError for a name that EG3D does not have."""
    ours = _renamed(published, _GENERATOR_RULES, 'generator')
    # The activations between the decoder's layers are counted in the published indexes and not in ours.
    return re.sub(r'^radiance\.layers\.(\d+)', lambda m: f'radiance.layers.{int(m[1]) // 2}', ours) if ours else ours


def discriminator_name(published: str) -> str | None:
    """Our name of a published discriminator tensor; None for one that we do not need. Raises DataError for an unknown name."""
    return _renamed(published, _DISCRIMINATOR_RULES, 'discriminator')


def generator_weights(published: MappingType[str, Tensor], rendering: MappingType[str, Any]) -> dict[str, Tensor]:
    """A state dict for Generator3D(generator_config(...)) from the published one, parameters and buffers by name.

    Values are unchanged, but for two options: a factor on the camera's numbers goes into the weights that read them, and a mapping that is
    always shown 25 zeros for a camera becomes one that is shown no camera, by adding what it makes of them to its first bias.
    """
    renamed = {generator_name(name): tensor for name, tensor in published.items()}
    renamed.pop(None, None)
    if _option(rendering, 'superresolution_noise_mode') == 'none':
        # Noise inputs that nothing reads under this option; our layers do not have them.
        renamed = {k: v for k, v in renamed.items() if not re.fullmatch(r'superres\..*\.noise_(strength|const)', k)}
    embed = 'mapping_network.embed_camera'
    if f'{embed}.weight' in renamed:
        renamed[f'{embed}.weight'] = renamed[f'{embed}.weight'] * float(_option(rendering, 'c_scale'))
        if _option(rendering, 'c_gen_conditioning_zero'):
            renamed |= _without_camera(renamed)
            del renamed[f'{embed}.weight'], renamed[f'{embed}.bias']
    return renamed


def _without_camera(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first mapping layer on n(z) alone, equal to the given one on n(z), n(embed(0))."""
    weight, bias = weights['mapping_network.layers.0.weight'], weights['mapping_network.layers.0.bias']
    constant = normalise_second_moment(weights['mapping_network.embed_camera.bias'][None])[0]
    inputs = weight.shape[1]
    z_dim = inputs - len(constant)
    return {
        # Dense divides by the square root of its inputs, of which there are fewer now.
        'mapping_network.layers.0.weight': weight[:, :z_dim] * math.sqrt(z_dim / inputs),
        'mapping_network.layers.0.bias': bias + weight[:, z_dim:] @ constant / math.sqrt(inputs),
    }


def discriminator_weights(published: MappingType[str, Tensor]) -> dict[str, Tensor]:
    """A state dict for Discriminator from the published one (values unchanged)."""
    renamed = {discriminator_name(name): tensor for name, tensor in published.items()}
    renamed.pop(None, None)
    return renamed


def generator_config(shapes: Shapes, rendering: MappingType[str, Any], render_resolution: int) -> GeneratorConfig:
    """The configuration that reproduces a published generator.

    `shapes` are those of its tensors by published name, `rendering` its rendering options by published name, `render_resolution` what it
    calls neural rendering resolution. Raises DataError for a super-resolution or an option that is not known here.
    """
    blocks = _resolutions(shapes, r'backbone\.synthesis\.b(\d+)\.torgb\.weight')
    class_name = str(_option(rendering, 'superresolution_module')).rpartition('.')[2]
    if class_name not in SUPERRES_LAYOUTS:
        raise DataError(f'EG3D super-resolution {class_name!r} is not known; known are {", ".join(SUPERRES_LAYOUTS)}')
    layout = SUPERRES_LAYOUTS[class_name]
    hidden = [shapes[k][0] for k in _ordered(shapes, r'decoder\.net\.(\d+)\.weight')]
    w_dim = shapes['backbone.mapping.w_avg'][0]
    fc0_inputs = shapes['backbone.mapping.fc0.weight'][1]
    has_embedding = 'backbone.mapping.embed.weight' in shapes
    return GeneratorConfig(
        z_dim=fc0_inputs - has_embedding * w_dim,
        w_dim=w_dim,
        conditions_on_camera=has_embedding and not _option(rendering, 'c_gen_conditioning_zero'),
        image_resolution=layout.input_resolution << (2 if layout.first_block_upsamples else 1),
        render_resolution=render_resolution,
        mapping=MappingConfig(layers=len(_ordered(shapes, r'backbone\.mapping\.fc(\d+)\.weight')), lr_multiplier=0.01),
        synthesis=SynthesisConfig(
            plane_resolution=blocks[-1],
            plane_channels=shapes['backbone.synthesis.b4.torgb.weight'][0] // 3,
            channels=tuple((r, shapes[f'backbone.synthesis.b{r}.torgb.weight'][1]) for r in blocks),
        ),
        radiance=RadianceConfig(
            hidden=tuple(hidden[:-1]), features=hidden[-1] - 1, lr_multiplier=float(_option(rendering, 'decoder_lr_mul'))
        ),
        rendering=rendering_config(rendering),
        superres=SuperresConfig(
            channels=tuple(shapes[k][0] for k in _ordered(shapes, r'superresolution\.block(\d+)\.conv1\.weight')),
            input_resolution=layout.input_resolution,
            antialias=bool(_option(rendering, 'sr_antialias')),
            noise=_option(rendering, 'superresolution_noise_mode'),
            clamp=PUBLISHED_CLAMP,
            raw_includes_first_block=True,
        ),
    )


def rendering_config(rendering: MappingType[str, Any]) -> RenderingConfig:
    """Our rendering configuration for published rendering options, with the published rules. Raises DataError for what is not supported."""
    for name, supported in (('disparity_space_sampling', False), ('clamp_mode', 'softplus')):
        found = _option(rendering, name)
        if found != supported:
            raise DataError(f'EG3D rendering option {name} is {found!r} in this file; only {supported!r} is supported')
    near, far = ('box' if _option(rendering, name) == 'auto' else float(_option(rendering, name)) for name in ('ray_start', 'ray_end'))
    return RenderingConfig(
        samples_coarse=int(_option(rendering, 'depth_resolution')),
        samples_fine=int(_option(rendering, 'depth_resolution_importance')),
        near=near,
        far=far,
        box_side=float(_option(rendering, 'box_warp')),
        axes='EG3D_2022',
        background='white' if _option(rendering, 'white_back') else 'black',
        rule='EG3D_2022',
    )


def discriminator_config(shapes: Shapes, mbstd_group: int = 4) -> DiscriminatorConfig:
    """The configuration that reproduces a published discriminator from the shapes of its tensors by published name.

    The group of the minibatch standard deviation leaves no trace in the shapes; 4 is the published one.
    """
    resolutions = [4, *_resolutions(shapes, r'b(\d+)\.skip\.weight')]
    widths = {r: shapes[f'b{r}.conv0.weight'][1] for r in resolutions[1:]} | {4: shapes['b4.fc.weight'][0]}
    conditions_on_camera = 'mapping.embed.weight' in shapes
    return DiscriminatorConfig(
        image_resolution=resolutions[-1],
        see='dual' if shapes[f'b{resolutions[-1]}.fromrgb.weight'][1] == 6 else 'single',
        conditions_on_camera=conditions_on_camera,
        channels=tuple(sorted(widths.items())),
        clamp=PUBLISHED_CLAMP,
        mbstd_group=mbstd_group,
        mbstd_grouping='strided',
        mapping=MappingConfig(layers=max(1, len(_ordered(shapes, r'mapping\.fc(\d+)\.weight'))), lr_multiplier=0.01),
    )


def _renamed(published: str, rules: tuple[tuple[str, str | None], ...], what: str) -> str | None:
    for pattern, ours in rules:
        match = re.fullmatch(pattern, published)
        if match:
            return None if ours is None else match.expand(ours)
    raise DataError(f'{published!r} is not the name of a tensor in an EG3D {what}; is this file from another method or version?')


def _option(rendering: MappingType[str, Any], name: str) -> Any:
    if name in rendering:
        return rendering[name]
    if name not in _OPTION_DEFAULTS:
        raise DataError(f'the EG3D rendering options lack {name!r}; present are {", ".join(sorted(rendering))}')
    return _OPTION_DEFAULTS[name]


def _ordered(shapes: Shapes, pattern: str) -> list[str]:
    """The names that match, by the number in them."""
    matches = [m for m in (re.fullmatch(pattern, name) for name in shapes) if m]
    return [m[0] for m in sorted(matches, key=lambda m: int(m[1]))]


def _resolutions(shapes: Shapes, pattern: str) -> list[int]:
    """The numbers in the names that match, increasing."""
    return sorted(int(m[1]) for m in (re.fullmatch(pattern, name) for name in shapes) if m)
