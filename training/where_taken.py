"""Where was this photograph taken from? What a discriminator that reads poses says of real pictures, and how right it is where that is known."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from tqdm import tqdm

from dnnlib.errors import DataError, UsageError
from metrics.collecting import image_order
from metrics.measurable import LEAST_POSES
from metrics.pose_accuracy import pose_accuracy
from metrics.pose_distribution import circular_std_deg
from training.cameras.convention import from_eg3d
from training.cameras.orbit import angles_of
from training.data.image_set import ImageSet
from training.data.item import from_uint8
from training.data.synthetic import SyntheticImages
from training.networks.discriminator import Discriminator, companion
from training.networks.pose import published_camera

BATCH = 16  # always: a reader on the discriminator's trunk sees, as in training, a little of a picture's neighbours


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Of M pictures, by their numbers in the data: yaw in (-180, 180] and pitch, degrees, float64 [M]; yaw 0 is wherever the model put its front."""

    numbers: np.ndarray
    yaw_deg: np.ndarray
    pitch_deg: np.ndarray

    def table(self, names: Sequence[str], dataset: ImageSet) -> dict[str, dict[str, float | str]]:
        """By file name, with the file that each was made from where the data set knows it; names: of the whole data set."""
        found = {}
        for number, yaw, pitch in zip(self.numbers, self.yaw_deg, self.pitch_deg, strict=True):
            source = dataset.label(int(number)).source
            found[names[number]] = {'yaw_deg': round(float(yaw), 2), 'pitch_deg': round(float(pitch), 2)} | ({'source': source} if source else {})
        return found

    def __str__(self) -> str:
        low, high = np.percentile(self.pitch_deg, [5, 95])
        spread = ''  # of a handful it is no number
        if len(self.numbers) >= LEAST_POSES:
            spread = f'spread of yaw {circular_std_deg(np.radians(self.yaw_deg)):.0f} degrees, '
        return f'poses of {len(self.numbers):,} pictures: {spread}pitch {low:.0f} to {high:.0f} degrees (90 %)'


@dataclass(frozen=True, slots=True)
class Agreement:
    """Median errors of the yaw in degrees after one rotation for all pictures: of the reading, of its mirror image (which no picture alone can
    tell from it), and of readings given to the wrong pictures, which is what a reader that knows only the law has. offset_deg: the rotation,
    read minus true, of the better sense. pitch_deg: median error without any offset."""

    median_deg: float
    mirrored_deg: float
    shuffled_deg: float
    offset_deg: float
    pitch_deg: float

    def __str__(self) -> str:
        return (
            f'median error of yaw after one rotation by {self.offset_deg:.0f} degrees: {self.median_deg:.1f} degrees, mirrored {self.mirrored_deg:.1f} '
            f'(shuffled: {self.shuffled_deg:.1f}); of pitch {self.pitch_deg:.1f}'
        )

    def to_json(self) -> dict[str, float]:
        """By name, rounded."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


@torch.no_grad()
def where_taken(discriminator: Discriminator, raw_resolution: int, dataset: ImageSet, num: int | None = None, quiet: bool = True) -> Whereabouts:
    """Read the poses of `num` pictures (None: all), a fair sample in the order of the data.

    raw_resolution: at which a dual discriminator sees the companion of a picture. Raises UsageError for a discriminator that reads no poses
    or for more pictures than there are, DataError for pictures of another size than it was trained on.
    """
    config = discriminator.config
    if config.pose is None:
        raise UsageError('this network cannot say where photographs were taken: its discriminator reads no poses (train with discriminator.pose).')
    if dataset.resolution != config.image_resolution:
        raise DataError(
            f'{dataset.name} has pictures of {dataset.resolution} pixels, the network knows those of {config.image_resolution}; '
            f'run dataset_tool.py with --resolution {config.image_resolution}x{config.image_resolution}.'
        )
    if num is not None and not 1 <= num <= len(dataset):
        raise UsageError(f'poses of {num:,} pictures were asked for, {dataset.name} has {len(dataset):,}.')
    numbers = np.sort(image_order(dataset)[:num])
    device = next(discriminator.parameters()).device
    codes = []
    for start in tqdm(range(0, len(numbers), BATCH), desc=dataset.name, unit='batch', disable=quiet, leave=False):
        # The last batch is filled up from the beginning: a company of four is not one of sixteen.
        rows = np.take(numbers, np.arange(start, start + BATCH), mode='wrap')
        image = from_uint8(torch.from_numpy(np.stack([dataset[int(row)].image for row in rows]))).to(device)
        codes.append(discriminator.read_pose(image, companion(image, raw_resolution) if config.see == 'dual' else None).cpu())
    code, rig = torch.cat(codes)[: len(numbers)].double(), config.pose.rig
    yaw, pitch, _ = angles_of(rig.camera(code) if config.pose.law == 'bounded' else published_camera(code, rig), rig.target)
    return Whereabouts(numbers, np.degrees(yaw.numpy()), np.degrees(pitch.numpy()))


def agreement(found: Whereabouts, dataset: ImageSet, target: Sequence[float]) -> Agreement | None:
    """How right it is; None for data without cameras, or fewer than 20 pictures. target: of the cameras, world units.

    Of a synthetic set the cameras are the true ones, whatever its labels say.
    """
    if not dataset.has_cameras or len(found.numbers) < LEAST_POSES:
        return None
    numbers = found.numbers.tolist()
    if isinstance(dataset, SyntheticImages):
        cameras = dataset.world.cameras(numbers)
    else:
        cameras = from_eg3d(torch.from_numpy(np.stack([dataset.label(number).camera25 for number in numbers])))
    true_yaw, true_pitch, _ = (values.double().numpy() for values in angles_of(cameras, target))
    yaw, pitch = np.radians(found.yaw_deg), np.radians(found.pitch_deg)
    straight, mirrored = pose_accuracy(yaw, true_yaw, pitch, true_pitch), pose_accuracy(-yaw, true_yaw)
    # Half of the way round a list whose order says nothing: everybody gets somebody else's reading.
    order = np.random.RandomState(0).permutation(len(yaw))
    shuffled = pose_accuracy(yaw[np.roll(order, len(order) // 2)], true_yaw[order])
    better = straight if straight.median_deg <= mirrored.median_deg else mirrored
    assert straight.elevation_median_deg is not None
    return Agreement(straight.median_deg, mirrored.median_deg, shuffled.median_deg, better.offset_deg, straight.elevation_median_deg)
