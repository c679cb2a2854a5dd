"""The mapping network: latent, camera and class -> w, with its running mean for truncation (StyleGAN, arXiv 1812.04948)."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from dnnlib.errors import UsageError
from training.cameras.camera import Camera
from training.cameras.condition import camera_condition
from training.cameras.convention import EG3D_NUMBERS
from training.networks.layers import ClassEmbedding, Dense, normalise_second_moment


@dataclass(frozen=True, slots=True)
class MappingConfig:
    layers: int = 2
    lr_multiplier: float = 0.01

    def __post_init__(self) -> None:
        if self.layers < 1 or not self.lr_multiplier > 0:
            raise UsageError(f'mapping: layers must be >= 1 and lr_multiplier > 0, not {self.layers} and {self.lr_multiplier}')


class Mapping(nn.Module):
    """n(z), n(embed(camera)), n(embed(pose)), n(embed(class)), as far as they exist, concatenated in this order -> Dense layers -> [N, out].

    n is the normalisation to unit second moment, so that no condition is drowned by another. With a camera and no class this is the
    published EG3D mapping. `z_dim` 0 is the discriminator's: conditions only. `pose_numbers` 0: no pose codes.
    """

    def __init__(
        self, *, z_dim: int, num_classes: int, conditions_on_camera: bool, out_features: int, config: MappingConfig, pose_numbers: int = 0
    ):
        super().__init__()
        conditions = conditions_on_camera + (pose_numbers > 0) + (num_classes > 0)
        parts = z_dim + conditions * out_features
        assert parts > 0, 'a mapping network needs a latent, a camera, a pose or a class'
        self.z_dim = z_dim
        self.embed_camera = Dense(EG3D_NUMBERS, out_features) if conditions_on_camera else None
        self.embed_pose = Dense(pose_numbers, out_features) if pose_numbers else None
        self.embed_class = ClassEmbedding(num_classes, out_features) if num_classes else None
        widths = [parts] + [out_features] * config.layers
        self.layers = nn.ModuleList(
            Dense(a, b, lrelu=True, lr_multiplier=config.lr_multiplier) for a, b in pairwise(widths)
        )
        if z_dim:
            self.register_buffer('w_avg', torch.zeros(out_features))

    def forward(
        self, z: Tensor | None, classes: Tensor | None = None, camera: Camera | None = None, pose: Tensor | None = None
    ) -> Tensor:
        """z [N, z_dim] (any float dtype), classes int64 [N], camera of N, pose codes [N, pose_numbers] -> w [N, out].

        A network that conditions on a camera and is given none embeds 25 zeros, as published generators do without pose conditioning.
        A network that does not condition on something ignores it. Raises UsageError where classes are needed and missing.
        """
        parts = []
        if self.z_dim:
            parts.append(normalise_second_moment(z.to(self.layers[0].weight.dtype)))
        if self.embed_camera is not None:
            parts.append(normalise_second_moment(self.embed_camera(self._camera_numbers(z, classes, camera))))
        if self.embed_pose is not None:
            parts.append(normalise_second_moment(self.embed_pose(pose)))
        if self.embed_class is not None:
            if classes is None:
                count = self.embed_class.weight.shape[0]
                raise UsageError(f'this network is conditioned on one of {count} classes, and no class was given; choose one')
            parts.append(normalise_second_moment(self.embed_class(classes)))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = layer(x)
        return x

    def _camera_numbers(self, z: Tensor | None, classes: Tensor | None, camera: Camera | None) -> Tensor:
        weight = self.embed_camera.weight
        if camera is not None:
            return camera_condition(camera).to(weight)
        rows = next((len(t) for t in (z, classes) if t is not None), 1)
        return weight.new_zeros(rows, EG3D_NUMBERS)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None) -> Tensor:
        """ws [N, num_ws, w] -> the first `cutoff` entries (all if None) drawn towards w_avg: w_avg + psi (w - w_avg)."""
        if psi == 1.0:
            return ws
        truncated = torch.lerp(self.w_avg, ws, psi)
        if cutoff is None:
            return truncated
        return torch.cat([truncated[:, :cutoff], ws[:, cutoff:]], dim=1)

    @torch.no_grad()
    def track_(self, ws: Tensor, beta: float) -> None:
        """Move w_avg towards the mean of ws (any shape [..., w]): w_avg <- mean + beta (w_avg - mean)."""
        mean = ws.reshape(-1, ws.shape[-1]).mean(dim=0)
        self.w_avg.lerp_(mean.to(self.w_avg), 1 - beta)
