"""Poses as codes (training.cameras.rig): how far what is read or invented lies from what was meant."""

from torch import Tensor

from training.cameras.rig import POSE_NUMBERS


def pose_error(numbers: Tensor, code: Tensor) -> Tensor:
    """Mean squared difference of pose numbers [N, 3] and codes [N, 3 or more] -> [N]; two codes on opposite sides are 4/3 apart.

    The numbers are not made a code first: a reader that does not know answers with a short vector, whose length is how sure it is.
    """
    return (numbers - code[:, :POSE_NUMBERS]).square().mean(dim=1)


def yaw_error(numbers: Tensor, direction: Tensor) -> Tensor:
    """The part of `pose_error` that is about the yaw: pose numbers [N, 3] and sine and cosine [N, 2] -> [N]."""
    return (numbers[:, :2] - direction).square().sum(dim=1) / POSE_NUMBERS
