"""What a generator is asked for, said once for gen_samples.py, the metrics and the snapshots of training: latents of seeds, classes,
views, and the batched call."""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import UsageError, did_you_mean
from torch_utils.precision import use_all_digits
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.convention import focal_to_fov, fov_to_focal
from training.cameras.distributions import LawConfig
from training.cameras.orbit import angles_of, orbit
from training.networks.generator3d import Generator3D
from training.networks.outputs import Output

Device = torch.device | str


def pick_device(name: str) -> torch.device:
    """The device of that name; 'auto' is the fastest there is. Raises UsageError for one that this machine lacks."""
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'mps' if torch.backends.mps.is_available() else 'cpu'
    use_all_digits()
    try:
        return torch.zeros((), device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}") from error


def latents(seeds: Sequence[int], z_dim: int, device: Device = 'cpu') -> Tensor:
    """Latents [N, z_dim] float32, one row per seed: `np.random.RandomState(seed).randn(z_dim)`, the numbers that the tools of StyleGAN and
    EG3D give to a seed. NumPy promises never to change this legacy generator. Raises UsageError for a seed outside 0 .. 2^32 - 1."""
    for seed in seeds:
        if not 0 <= seed < 2 ** 32:
            raise UsageError(f'a seed is a whole number from 0 to {2 ** 32 - 1}, got {seed}.')
    rows = [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).float().to(device)


def class_index(text: str, num_classes: int, names: Sequence[str] | None = None) -> int:
    """A class written by a user, as a number ('3') or a name ('goldfish'), as an index. Raises UsageError that lists what there is."""
    if num_classes == 0:
        raise UsageError(f"this network was trained without classes, so '{text}' means nothing to it. Leave --class and --classes out.")
    if names is not None and text in names:
        return list(names).index(text)
    known = f'classes are the whole numbers 0 to {num_classes - 1}'
    if names is not None:
        shown = ', '.join(f'{index} {name}' for index, name in list(enumerate(names))[:40])
        known += f' or their names ({shown}{", ..." if len(names) > 40 else ""})'
    if re.fullmatch(r'\s*[+-]?\d+\s*', text, re.ASCII) is None:
        raise UsageError(f"there is no class '{text}'; {known}.{did_you_mean(text, names or [])}")
    if not 0 <= int(text) < num_classes:
        raise UsageError(f'there is no class {text}; {known}.')
    return int(text)


def drawn_classes(seeds: Sequence[int], num_classes: int) -> list[int]:
    """A class for each seed when the user named none; all equally likely, the same in every program."""
    return [int(_stream_of(seed).integers('class', num_classes)) for seed in seeds]


def drawn_cameras(
    law: LawConfig | Camera, seeds: Sequence[int], device: Device = 'cpu', classes: Sequence[int] | None = None, examples_of: Tensor | None = None
) -> Camera:
    """One camera for each seed: drawn from a law, or picked from examples. Where these have classes, examples_of [K], from those of the
    seed's class."""
    if isinstance(law, Camera):
        everything = torch.arange(len(law))
        among = [everything] * len(seeds) if examples_of is None or classes is None else [everything[examples_of == index] for index in classes]
        picked = [int(rows[int(_stream_of(seed).integers('camera', len(rows)))]) for seed, rows in zip(seeds, among, strict=True)]
        return law[picked].to(device)
    return Camera.cat([law.sample(_stream_of(seed), device) for seed in seeds])


def _stream_of(seed: int) -> Stream:
    return Stream(seed=seed, step=0, phase='sampling', rows=(0,))


@torch.no_grad()
def own_cameras(generator: Generator3D, z: Tensor, classes: Tensor | None, drawn: Camera, batch: int = 16) -> Camera:
    """From where the scenes of z [N, z_dim] and classes [N] are seen under the model's own law, N cameras (or `drawn` as it is).

    A generator that invents cameras does so from the w that is not truncated: truncation makes scenes more usual, not the place of the
    photographer, and codes of a shortened w would all move towards one view. Any other generator is seen from `drawn` (1 or N cameras of its
    law), which is also what a generator that is conditioned on cameras is told.
    """
    learner = generator.pose_learner
    if learner is None:
        return drawn
    told = _as_many(drawn, len(z)).to(z.device) if generator.config.conditions_on_camera else None
    invented = []
    for rows in batches(len(z), batch):
        w = generator.mapping(z[rows], None if classes is None else classes[rows], None if told is None else told[rows])[:, 0]
        invented.append(learner.camera(generator.pose(w)))
    return Camera.cat(invented)


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """Where one looks from: the stand of a photographer who walks around the target. Angles are 0 at the front (+z) and grow to the
    viewer's right (+x) and upward."""

    radius: float                               # world units, from the target
    fov_x_deg: float
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0

    def camera(self, device: Device = 'cpu') -> Camera:
        """The one camera (N = 1) that stands here."""
        yaw_rad, pitch_rad = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        return orbit(yaw_rad, pitch_rad, self.radius, self.target, focal=fov_to_focal(self.fov_x_deg)).to(device)


def front_of(law: LawConfig | Camera) -> Viewpoint:
    """The front view of scenes whose images were seen by `law` (or by these poses): yaw 0, everything else as usual there.

    Usual is the median; of a law, over 256 draws. The pitch is rounded to a whole degree. Of poses the target is the point that their
    optical axes come closest to (least squares, held at the origin as far as the axes leave it open).
    """
    if isinstance(law, Camera):
        target = _meeting_point(law)
        radius = float(angles_of(law, target)[2].median())
        fov_x_deg = focal_to_fov(float(law.intrinsics[:, 0, 0].median()))
        examples = law
    else:
        target, radius, fov_x_deg = law.target, law.radius, law.fov_x_deg
        examples = law.sample(Stream(seed=0, step=0, phase='sampling', rows=tuple(range(256))))
    pitch_deg = math.degrees(angles_of(examples, target)[1].median())
    return Viewpoint(radius, fov_x_deg, target, pitch_deg=float(round(pitch_deg)))


def _meeting_point(camera: Camera) -> tuple[float, float, float]:
    """Least-squares solution of: no distance from any optical axis."""
    forward = camera.forwards.double().cpu()
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None, :]
    offset = torch.einsum('nij,nj->i', across, camera.origins.double().cpu()) / len(camera)
    x, y, z = torch.linalg.solve(across.mean(0) + 1e-3 * torch.eye(3, dtype=torch.float64), offset).tolist()
    return x, y, z


@dataclass(frozen=True, slots=True)
class Truncation:
    """How far latents are pulled towards the mean: psi 1 leaves them, 0 gives the mean; cutoff: only the first so many ws (None: all)."""

    psi: float = 1.0
    cutoff: int | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """N generated scenes, made once and looked at as often as one likes."""

    ws: Tensor              # [N, num_ws, w_dim]
    planes: Tensor          # [N, P, C, H, W]

    def __len__(self) -> int:
        return len(self.ws)


@torch.no_grad()
def make_scene(generator: Generator3D, z: Tensor, classes: Tensor | None = None, condition: Camera | None = None,
               truncation: Truncation = Truncation()) -> Scene:
    """Scenes of latents z [N, z_dim] and classes [N] int64. `condition` (1 or N cameras) is what a generator that is conditioned on cameras
    is told; one that is not is told nothing."""
    if generator.config.conditions_on_camera and condition is not None:
        condition = _as_many(condition, len(z)).to(z.device)
    else:
        condition = None
    ws = generator.mapping(z, classes, condition, truncation_psi=truncation.psi, truncation_cutoff=truncation.cutoff)
    return Scene(ws, generator.planes(ws))


@torch.no_grad()
def look_at_scene(generator: Generator3D, scene: Scene, camera: Camera, resolution: int | None = None) -> Output:
    """Pictures of the scenes from `camera` (1 or N); `resolution` is that of the raw rendering (None: the generator's own)."""
    return generator.render(scene.planes, scene.ws, _as_many(camera, len(scene)).to(scene.ws.device), resolution=resolution)


def sample(generator: Generator3D, z: Tensor, classes: Tensor | None, camera: Camera, *, condition: Camera | None = None,
           truncation: Truncation = Truncation(), resolution: int | None = None, batch: int = 8) -> Output:
    """Generates for z [N, z_dim], classes [N] int64 or None, camera (1 or N); `batch` scenes at a time, without gradients, in evaluation.

    `condition` is the camera that the scene is made for; None: the one it is looked at from, as in training.
    """
    outputs = [look_at_scene(generator, make_scene(generator, z[rows], None if classes is None else classes[rows],
                                                   _rows(camera if condition is None else condition, rows), truncation),
                             _rows(camera, rows), resolution)
               for rows in batches(len(z), batch)]
    names = [field.name for field in dataclasses.fields(outputs[0])]
    return type(outputs[0])(*(torch.cat([getattr(output, name) for output in outputs]) for name in names))


def batches(count: int, batch: int) -> Iterator[slice]:
    """0 .. count cut into slices of at most `batch`."""
    if batch < 1:
        raise UsageError(f'a batch has at least one image, got {batch}.')
    for start in range(0, count, batch):
        yield slice(start, min(start + batch, count))


def _rows(camera: Camera, rows: slice) -> Camera:
    return camera if len(camera) == 1 else camera[rows]


def _as_many(camera: Camera, count: int) -> Camera:
    if len(camera) == count:
        return camera
    if len(camera) != 1:
        raise UsageError(f'{len(camera)} cameras were given for {count} scenes; give one for all, or one for each.')
    return camera.repeat_interleave(count)
