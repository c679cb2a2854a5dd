"""What a network is told about a camera."""

from torch import Tensor

from training.cameras.camera import Camera
from training.cameras.convention import to_eg3d


def camera_condition(camera: Camera) -> Tensor:
    """[N, 25]: pose and intrinsics as numbers of order one, in the layout of EG3D so that published weights understand it."""
    return to_eg3d(camera)
