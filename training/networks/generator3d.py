"""The generator: latent -> planes -> volume rendering -> picture. It caches nothing: planes once, then render as often as wanted."""

import copy
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor, nn

from custom_ops import TriplaneField
from dnnlib.errors import UsageError
from torch_utils.layout import channels_last
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.rays import rays
from training.networks.backdrop import Backdrop, BackdropConfig
from training.networks.mapping import Mapping, MappingConfig
from training.networks.modulated import Noise
from training.networks.outputs import Output
from training.networks.pose import PoseLearner, PoseLearnerConfig
from training.networks.radiance import Radiance, RadianceConfig
from training.networks.superres import Superres, SuperresConfig
from training.networks.synthesis import Synthesis, SynthesisConfig
from training.rendering.planes import PLANE_AXES
from training.rendering.renderer import RenderingConfig, render


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """Sizes of the generator and of its parts; resolutions are pixels per side."""

    z_dim: int = 512
    w_dim: int = 512
    num_classes: int = 0  # 0: no class
    conditions_on_camera: bool = False  # generator pose conditioning of EG3D, section 4.4
    image_resolution: int = 128
    render_resolution: int = 64  # rays per side
    mapping: MappingConfig = field(default_factory=MappingConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    radiance: RadianceConfig = field(default_factory=RadianceConfig)
    rendering: RenderingConfig = field(default_factory=RenderingConfig)
    backdrop: BackdropConfig | None = None  # a picture behind the scene; None: what rendering.background says
    pose: PoseLearnerConfig | None = None  # None: cameras come from elsewhere, a law or labels
    superres: SuperresConfig | None = field(default_factory=SuperresConfig)  # None: the picture is the raw render
    # 'flat': the field's colours on the plane z = 0, whatever the camera: a 2-D generator of the same size, for comparison.
    picture: Literal['rendered', 'flat'] = 'rendered'

    def __post_init__(self) -> None:
        if min(self.z_dim, self.w_dim, self.image_resolution, self.render_resolution) < 1 or self.num_classes < 0:
            raise UsageError('generator: z_dim, w_dim, image_resolution and render_resolution must be at least 1, num_classes at least 0')
        if self.rendering.view_dependent:
            raise UsageError('generator.rendering.view_dependent: this decoder ignores directions, so asking for them would only cost memory')
        if self.backdrop is not None and (self.rendering.background != 'black' or self.picture == 'flat'):
            raise UsageError("generator.backdrop stands where light passes through the scene: it needs generator.rendering.background=black and picture=rendered.")
        if self.backdrop is not None and self.backdrop.resolution > self.synthesis.plane_resolution:
            raise UsageError(
                f'generator.backdrop.resolution is {self.backdrop.resolution}; it cannot exceed that of the planes, {self.synthesis.plane_resolution}.'
            )
        if self.superres is not None:
            self.superres.layout(self.render_resolution, self.image_resolution)
        elif self.image_resolution != self.render_resolution:
            raise UsageError(
                f'generator: without super-resolution the picture is the render, but image_resolution is {self.image_resolution} '
                f'and render_resolution {self.render_resolution}'
            )


class Generator3D(nn.Module):
    """See the methods; shapes there. num_ws, z_dim, w_dim are plain attributes, `config` the frozen configuration that built it."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        axes = config.rendering.axes
        self.config = config
        self.z_dim, self.w_dim = config.z_dim, config.w_dim
        self.synthesis = Synthesis(config.w_dim, len(PLANE_AXES[axes]), config.synthesis)
        self.num_ws = self.synthesis.num_ws
        self.mapping_network = Mapping(
            z_dim=config.z_dim, num_classes=config.num_classes, conditions_on_camera=config.conditions_on_camera,
            out_features=config.w_dim, config=config.mapping,
        )
        self.radiance = Radiance(config.synthesis.plane_channels, axes, config.radiance)
        if config.rendering.far_at_start is not None:
            self.register_buffer('far', torch.tensor(float(config.rendering.far_at_start)))  # where rays end now; training moves it
        self.pose_learner = None if config.pose is None else PoseLearner(config.w_dim, config.pose)
        self.backdrop = None if config.backdrop is None else Backdrop(config.w_dim, config.radiance.features, config.backdrop)
        self.superres = None
        if config.superres is not None:
            self.superres = Superres(
                config.radiance.features, config.w_dim, config.render_resolution, config.image_resolution, config.superres
            )

    def casting(self, side: int) -> Self:
        """This very network, weights and all, as one that casts side^2 rays unless told otherwise; its `config` builds such a one."""
        config = self.config
        if side == config.render_resolution or config.superres is None:
            return self
        built_for = config.superres.input_resolution or config.render_resolution
        return self.under(replace(config, render_resolution=side, superres=replace(config.superres, input_resolution=built_for)))

    def under(self, config: GeneratorConfig) -> Self:
        """This very network, weights and all, under another configuration that fits them; this one keeps its own."""
        other = copy.copy(self)
        other.config = config
        return other

    @property
    def w_avg(self) -> Tensor:
        """[w_dim]: the running mean of w, towards which truncation draws."""
        return self.mapping_network.w_avg

    def track_w(self, ws: Tensor, beta: float = 0.998) -> None:
        """Move w_avg towards the mean of ws: w_avg <- mean + beta (w_avg - mean). Forward never does; the training task decides."""
        self.mapping_network.track_(ws, beta)

    def mapping(
        self, z: Tensor, classes: Tensor | None = None, camera: Camera | None = None,
        truncation_psi: float = 1.0, truncation_cutoff: int | None = None,
    ) -> Tensor:
        """z [N, z_dim], classes int64 [N], the camera to condition on (not the one to render with) -> ws [N, num_ws, w_dim].

        No camera, for a network that conditions on one: 25 zeros are embedded. Missing classes raise UsageError.
        """
        w = self.mapping_network(z, classes, camera)
        return self.mapping_network.truncate(w[:, None].expand(-1, self.num_ws, -1), truncation_psi, truncation_cutoff)

    def pose(self, w: Tensor) -> Tensor:
        """w [N, w_dim], not truncated -> pose codes [N, 3 or more] (training.cameras.rig). Only for a generator that invents its cameras."""
        assert self.pose_learner is not None, 'this generator has no pose learner'
        return self.pose_learner(w)

    def reach(self, share: float) -> None:
        """Let rays end at this share of the way from `rendering.far_at_start` to `rendering.far`; nothing happens without the former."""
        rendering = self.config.rendering
        if rendering.far_at_start is not None:
            self.far.fill_(rendering.far_at_start + share * (rendering.far - rendering.far_at_start))

    def planes(self, ws: Tensor, noise: Noise = 'const', stream: Stream | None = None) -> Tensor:
        """ws [N, num_ws, w_dim] -> planes [N, P, C, H, W]; `noise` 'random' draws from `stream`, an address per layer."""
        return self.synthesis(ws, noise, stream)

    def field(self, planes: Tensor) -> TriplaneField:
        """field(points [N, M, 3] world, directions, ignored) -> raw density [N, M, 1], features [N, M, F]."""
        return self.radiance.field(planes, self.config.rendering.box_side)

    def density(self, planes: Tensor, points: Tensor) -> Tensor:
        """points [N, M, 3] in world units -> density before its activation [N, M, 1]."""
        return self.field(planes)(points)[0]

    def render(
        self, planes: Tensor, ws: Tensor, camera: Camera, resolution: int | None = None, stream: Stream | None = None
    ) -> Output:
        """Cast resolution^2 rays (None: config.render_resolution) per camera. Without a stream the result is deterministic."""
        side = resolution or self.config.render_resolution
        if self.config.picture == 'flat':
            features = self._flat(planes, side)
            at = camera.origins.norm(dim=-1)[:, None, None, None].expand(-1, 1, side, side)
            depth, opacity = at, torch.ones_like(at)
        else:
            features, depth, opacity = self._rendered(planes, camera, side, stream)
            if self.backdrop is not None:
                features = features + 2 * (1 - opacity) * self.backdrop(ws, side)  # black is -1
        image = image_raw = features[:, :3]
        if self.superres is not None:
            image, image_raw = self.superres(image_raw, features, ws[:, -1], stream)
        return Output(image, image_raw, depth, opacity)

    def _rendered(self, planes: Tensor, camera: Camera, side: int, stream: Stream | None) -> tuple[Tensor, Tensor, Tensor]:
        rendered = render(self.field(planes), rays(camera, side), self.config.rendering, stream, getattr(self, 'far', None))
        features, depth, opacity = (picture(t, side) for t in (rendered.features, rendered.depth, rendered.opacity))
        return features, depth, opacity

    def _flat(self, planes: Tensor, side: int) -> Tensor:
        """Features [N, F, side, side] in [-1, 1] at the points of the plane z = 0, as large as the box."""
        at = ((torch.arange(side, device=planes.device) + 0.5) / side - 0.5) * self.config.rendering.box_side
        down, across = torch.meshgrid(-at, at, indexing='ij')
        points = torch.stack([across, down, torch.zeros_like(across)], dim=-1).reshape(1, -1, 3)
        return picture(self.field(planes)(points.expand(len(planes), -1, -1))[1] * 2 - 1, side)

    def forward(
        self, z: Tensor, classes: Tensor | None = None, camera: Camera | None = None, *, conditioning_camera: Camera | None = None,
        truncation_psi: float = 1.0, truncation_cutoff: int | None = None, noise: Noise = 'const',
        resolution: int | None = None, stream: Stream | None = None,
    ) -> Output:
        """mapping, planes and render in one; `conditioning_camera` None: the rendering camera."""
        if camera is None:
            raise UsageError('the generator needs a camera to render with')
        conditioning = camera if conditioning_camera is None else conditioning_camera
        ws = self.mapping(z, classes, conditioning, truncation_psi, truncation_cutoff)
        return self.render(self.planes(ws, noise, stream), ws, camera, resolution, stream)


def picture(values: Tensor, side: int) -> Tensor:
    """[N, side^2, C], row-major -> [N, C, side, side]; a view, channels last in memory."""
    return channels_last(values.transpose(1, 2).unflatten(2, (side, side)))
