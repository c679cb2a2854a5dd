"""The radiance decoder: features of a point -> raw density and colour features (EG3D, arXiv 2112.07945, section 4.1)."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from custom_ops import TriplaneField
from dnnlib.errors import UsageError
from training.networks.layers import Dense
from training.rendering.planes import PLANE_AXES


@dataclass(frozen=True, slots=True)
class OutsidePrior:
    """Empty space far from the centre: strength * relu(|p| - radius) is taken off the raw density at p (radius in world units)."""

    strength: float = 6.0
    radius: float = 0.5


@dataclass(frozen=True, slots=True)
class CorePrior:
    """Matter in the middle, where photographers aim: strength * relu(radius - |p|) is added to the raw density at p (radius in world units)."""

    strength: float = 20.0
    radius: float = 0.35


@dataclass(frozen=True, slots=True)
class RadianceConfig:
    hidden: tuple[int, ...] = (64,)  # widths of the softplus layers; two or more for the deeper decoder of arXiv 2402.00225
    features: int = 32  # rendered features, the first three of which are the raw picture; 3 where there is no super-resolution
    lr_multiplier: float = 1.0
    outside: OutsidePrior | None = None
    core: CorePrior | None = None

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1 or self.features < 3:
            raise UsageError(f'radiance: hidden needs one width or more and features at least 3, not {self.hidden} and {self.features}')


class Radiance(nn.Module):
    """planes [N, P, C, H, W], points [N, M, 3] -> raw density [N, M, 1], features [N, M, F] in [-0.001, 1.001].

    The mean of the planes' features at a point goes through softplus layers; output 0 is the density before its activation (which the
    renderer applies), the others are widened sigmoids, so that 0 and 1 can be reached. Plane axes [P, 2, 3]: see training.rendering.planes.
    """

    def __init__(self, plane_channels: int, axes: str, config: RadianceConfig):
        super().__init__()
        widths = [plane_channels, *config.hidden, 1 + config.features]
        self.layers = nn.ModuleList(
            Dense(a, b, lr_multiplier=config.lr_multiplier) for a, b in pairwise(widths)
        )
        self.outside, self.core = config.outside or OutsidePrior(strength=0.0), config.core or CorePrior(strength=0.0)
        self.register_buffer('axes', PLANE_AXES[axes].clone(), persistent=False)

    def field(self, planes: Tensor, box_side: float) -> TriplaneField:
        """The field of these planes, which span the box of side `box_side` (world units) around the world origin."""
        weights, biases = zip(*(layer.effective() for layer in self.layers), strict=True)
        priors = (self.outside.strength, self.outside.radius, self.core.strength, self.core.radius)
        return TriplaneField(planes, self.axes, weights, biases, box_side, 'softplus', *priors)

    def forward(self, planes: Tensor, points: Tensor, box_side: float) -> tuple[Tensor, Tensor]:
        """`points` are in world units."""
        return self.field(planes, box_side)(points)
