"""Pose response: when the camera goes round by so much, by how much does the picture turn? The number that sees flat scenes."""

from dataclasses import dataclass

import numpy as np

from metrics.measurable import NotMeasurable, measurable

LIMIT_DEG = 80.0
LEAST_PAIRS = 20


@dataclass(frozen=True, slots=True)
class PoseResponse:
    """slope: least squares through the origin; trimmed: share in [0, 1] of pairs that were left out; median_ratio: median of response /
    commanded change."""

    slope: float
    trimmed: float
    median_ratio: float


def pose_response(commanded_deg: np.ndarray, response_deg: np.ndarray, limit_deg: float = LIMIT_DEG) -> PoseResponse:
    """Of M pairs of views of one scene: the change of the camera's azimuth [M], not 0, and the change of the azimuth that an oracle reads
    [M], in degrees.

    The response is wrapped to [-180, 180); pairs with |response| >= limit_deg are left out, as the oracle took front for back; the slope is
    sum(c r) / sum(c^2) of the others. Unbounded; 1 is ideal, a scene flattened along the view less (about .6 at half its depth, .27 for a
    card), 0 a camera that is ignored, negative an inverted (hollow) geometry. The same law of commanded changes, e.g. +-12, 25, 40 degrees,
    must be used wherever slopes are compared.

    Limits. Trimming pulls the slope down when responses are noisy, since those that noise makes large go and those that it makes small
    stay; `trimmed` must be printed beside it. For changes of +-12, 25, 40 degrees, a true slope of 1 and normal errors of 10, 20, 30, 60
    degrees it gives 1.00, .98, .88, .46 with 0, .01, .05, .23 trimmed; 2 % front-back flips give 1.00 with .02, answers at random 0 with
    .55. A different object per camera also responds: its identity is not looked at. On images that the oracle cannot read (class accuracy
    below .7) the slope means nothing, whatever it is. Cost: 0.1 ms.

    Raises NotMeasurable with fewer than 20 pairs left, or for angles that are not finite.
    """
    commanded, response = measurable('the pose response', commanded_deg, response_deg, least=LEAST_PAIRS)
    assert (commanded != 0).all(), 'a camera that does not move has no response'
    response = (response + 180) % 360 - 180
    kept = np.abs(response) < limit_deg
    if kept.sum() < LEAST_PAIRS:
        raise NotMeasurable(f'the pose response needs {LEAST_PAIRS} pairs that turn by less than {limit_deg:g} degrees, found {kept.sum()}')
    c, r = commanded[kept], response[kept]
    return PoseResponse(slope=float(c @ r / (c @ c)), trimmed=float(1 - kept.mean()), median_ratio=float(np.median(r / c)))
