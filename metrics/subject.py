"""What is judged: numbered scenes that can be looked at. A generator, a folder of pictures, and a control of known defect look alike from here."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from training.cameras.camera import Camera


@dataclass(frozen=True, slots=True)
class Views:
    """N pictures and what their maker says about them; None where it says nothing. Resolutions of image and depth may differ."""

    image: Tensor  # [N, 3, S, S] float32 in [-1, 1]
    depth: Tensor | None = None  # [N, 1, R, R] distance along the ray, world units
    opacity: Tensor | None = None  # [N, 1, R, R] in [0, 1]
    camera: Camera | None = None  # N cameras that were asked for
    classes: Tensor | None = None  # [N] int64 that were asked for

    def __len__(self) -> int:
        return len(self.image)


Sample = Callable[[int, int], Views]
"""sample(start, n): pictures of scenes start .. start + n - 1 from the cameras of the subject's own law. Scene i is the same whoever asks."""

Render = Callable[[int, int, Camera], Views]
"""render(start, n, camera): the same scenes, each from its row of `camera` (n cameras). Nothing but the camera changes."""


@dataclass(frozen=True, slots=True)
class Subject:
    """`render` is None for what cannot be looked at from elsewhere (a folder of pictures)."""

    name: str
    sample: Sample
    render: Render | None = None
