"""What a generator returns."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Output:
    """One picture per row, S the image resolution and r the resolution at which rays were cast."""

    image: Tensor  # [N, 3, S, S] in about [-1, 1]; the picture after super-resolution, or image_raw itself where there is none
    image_raw: Tensor  # [N, 3, r, r] in about [-1, 1]; the first three rendered features
    depth: Tensor  # [N, 1, r, r] world units, distance along the ray
    opacity: Tensor  # [N, 1, r, r] in [0, 1]
