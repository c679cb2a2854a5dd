"""Pictures, depth, videos and shapes from a trained generator: python gen_samples.py --network FILE --seeds 0-7 --outdir out"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.errors import UsageError, run_command
from dnnlib.runs import check_writable
from dnnlib.units import parse_seeds
from training.cameras.camera import Camera
from training.cameras.paths import orbit_path, wiggle_path
from training.meshes.files import FORMATS as SHAPE_FORMATS
from training.meshes.files import write_mesh
from training.meshes.surface import coloured_surface, require_marching_cubes
from training.networks.generator3d import Generator3D
from training.networks.outputs import Output
from training.pictures.depth import depth_limits, depth_pictures
from training.pictures.grid import near_square, parse_shape, save_picture, shrink_to_fit, tile, to_pictures
from training.pictures.poses import Poses, pose_picture
from training.pictures.video import FORMATS as VIDEO_FORMATS
from training.pictures.video import require_format, write_video
from training.sampling import (
    Scene,
    Truncation,
    Viewpoint,
    batches,
    class_index,
    drawn_cameras,
    drawn_classes,
    front_of,
    latents,
    look_at_scene,
    make_scene,
    own_cameras,
    pick_device,
)
from training.snapshot import Snapshot, find_snapshot, finds_cameras, load_generator

LARGEST_VIDEO_SIDE_PX = 4096    # what H.264 decoders in hardware accept
MOST_VIDEO_CELLS = 64           # scenes of a video are all kept in memory
DIRECTIONS = 8                  # columns of orbit.png
POSES_SHOWN = 1000              # cameras of poses.png


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked as far as it can be without the network."""

    network: str
    seeds: str
    outdir: str | None
    trunc: float
    trunc_cutoff: int | None
    class_: str | None
    classes: bool
    grid: str | None
    view: str
    yaw: float | None
    pitch: float | None
    pose: str | None
    cond_camera: str
    resolution: int | None
    depth: bool
    raw: bool
    video: bool
    path: str
    frames: int
    fps: float
    format: str
    shapes: tuple[str, ...]
    shape_res: int
    level: float | None
    largest: bool
    batch: int
    device: str

    def __post_init__(self) -> None:
        if self.classes and self.class_ is not None:
            raise UsageError('--class asks for one class and --classes for all of them; give one of the two.')
        if self.view == 'law' and (self.yaw is not None or self.pitch is not None):
            raise UsageError('--view law draws the view of each seed, so --yaw and --pitch cannot be given with it.')
        if self.level is not None and not self.level > 0:
            raise UsageError(f'--level is a density per world unit and must be positive, got {self.level:g}.')
        if self.pose is not None and (self.view == 'law' or (self.pose != 'orbit' and (self.yaw, self.pitch) != (None, None))):
            raise UsageError(f'--pose {self.pose} says where to look from, so --view law, --yaw and --pitch cannot be given with it.')
        for name, value in zip(('yaw', 'pitch'), self.direction_deg, strict=True):
            if value is not None and not math.isfinite(value):
                raise UsageError(f'{name} must be a finite number of degrees, got {value}.')
            if name == 'pitch' and value is not None and abs(value) > 90:
                raise UsageError(f'pitch lies between -90 degrees (from below) and 90 (from above), got {value:g}.')
        for name in ('trunc', 'fps', 'level'):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UsageError(f'--{name} must be a finite number, got {value}.')
        if self.video:
            require_format(self.format)
        if self.shapes:
            require_marching_cubes()


    @property
    def direction_deg(self) -> tuple[float | None, float | None]:
        """(yaw, pitch) that were asked for; None where they were left open."""
        if self.pose in (None, 'learned', 'orbit'):
            return self.yaw, self.pitch
        try:
            yaw, pitch = (float(word) for word in self.pose.split(','))
        except ValueError:
            raise UsageError(f"--pose is 'learned', 'orbit' or YAW,PITCH in degrees such as 30,10; got '{self.pose}'.") from None
        return yaw, pitch

    @property
    def follows_law(self) -> bool:
        """Whether every seed has a camera of its own."""
        return self.view == 'law' or self.pose == 'learned'


@dataclass(frozen=True, slots=True)
class Subject:
    """One scene that was asked for."""

    seed: int
    class_: int | None
    stem: str       # of its file names


@dataclass(frozen=True, slots=True)
class Session:
    """A generator, what it is asked for, and from where: row i of `cameras` looks at subject i."""

    options: Options
    generator: Generator3D
    snapshot: Snapshot
    subjects: list[Subject]
    shape: tuple[int, int]      # of grids: columns, rows
    front: Viewpoint
    cameras: Camera
    folder: Path
    device: torch.device

    def scene(self, rows: slice, view: Camera) -> Scene:
        """Scenes of these subjects. The conditioning camera stays at the front, unless it was asked to be the view."""
        z, classes = asked_of(self.generator, self.subjects[rows], self.device)
        condition = view if self.options.cond_camera == 'view' else self.front.camera(self.device)
        return make_scene(self.generator, z, classes, condition, Truncation(self.options.trunc, self.options.trunc_cutoff))

    @property
    def remakes_scenes(self) -> bool:
        """Whether a scene is another one when it is seen from elsewhere."""
        return self.options.cond_camera == 'view' and self.generator.config.conditions_on_camera


@click.command(context_settings={'max_content_width': 120, 'show_default': True})
@click.option('--network', metavar='FILE', required=True, help='Weights file (.safetensors), run folder (its newest snapshot) or folder of runs (the newest).')
@click.option('--seeds', metavar='LIST', default='0-7', help="Which scenes: seeds as '0-7,12'. A seed is the same scene in every program.")
@click.option('--outdir', metavar='DIR', help='Where the files go.  [default: samples/ beside the weights]', show_default=False)
@click.option('--trunc', type=float, default=1.0, help='Truncation psi: 1 all variety, 0.7 fewer failures, 0 the mean scene.')
@click.option('--trunc-cutoff', type=click.IntRange(min=0), help='Truncate only the first so many layers.  [default: all]')
@click.option('--class', 'class_', metavar='CLASS', help='Class of all scenes, by number or name.  [default: one drawn per seed]')
@click.option('--classes', is_flag=True, help='Every class for every seed; grid.png has a row per class when there are several seeds.')
@click.option('--grid', metavar='CxR', help="Columns and rows of grid.png and of videos, such as '4x2'.  [default: near square]")
@click.option(
    '--view', type=click.Choice(['front', 'law']), default='front',
    help='Look from the front, or at each seed from where training images were seen.')
@click.option(
    '--pose', metavar='POSE',
    help="In one word: 'learned', each seed from the camera that the network found for it, and their law as poses.png; 'orbit', also orbit.png "
    "with every seed from 8 directions; or YAW,PITCH in degrees, such as 30,10.")
@click.option('--yaw', type=float, help="View in degrees around the object; 0 is the front, positive to the viewer's right.  [default: 0]")
@click.option('--pitch', type=float, help='View in degrees above the horizon.  [default: the median of the training cameras]')
@click.option(
    '--cond-camera', type=click.Choice(['front', 'view']), default='front',
    help='What a camera-conditioned generator is told: always the front (a scene stays the same when the view moves), or the view itself.')
@click.option('--resolution', type=click.IntRange(min=1), help="Pixels per side of the raw rendering.  [default: the network's own]")
@click.option('--depth', is_flag=True, help='Also depth pictures, near bright: seed0000_depth.png, and the depth of the video.')
@click.option('--raw', is_flag=True, help='Also the rendering before super-resolution: seed0000_raw.png.')
@click.option('--video', is_flag=True, help='Also a video in which the camera moves around the scenes, side by side: orbit.mp4.')
@click.option(
    '--path', type=click.Choice(['orbit', 'wiggle']), default='orbit',
    help='Camera path of the video: a full turn, or a small ellipse around the view.')
@click.option('--frames', type=click.IntRange(min=1), default=120, help='Length of the video in frames.')
@click.option('--fps', type=click.FloatRange(min=0, min_open=True), default=30.0, help='Frames per second of the video.')
@click.option('--format', type=click.Choice(VIDEO_FORMATS), default='mp4', help='Of the video; mp4 needs the package imageio-ffmpeg.')
@click.option(
    '--shapes', type=click.Choice(SHAPE_FORMATS), multiple=True,
    help='Also the surface as a coloured mesh: seed0000.glb. Give it several times for several formats.')
@click.option('--shape-res', type=click.IntRange(min=2), default=128, help='Voxels along each side of the box that holds the surface.')
@click.option('--level', type=float, help='Density per world unit at which the surface lies.  [default: found for each scene]')
@click.option('--largest', is_flag=True, help='Keep only the piece of the surface that encloses the most: no floaters.')
@click.option('--batch', type=click.IntRange(min=1), default=4, help='Scenes computed at a time; changes memory and speed, not pictures.')
@click.option('--device', default='auto', help='cpu, cuda, cuda:1, mps; auto takes what there is.')
@click.option('--debug', is_flag=True, expose_value=False, help='Show the traceback of an error.')
def main(**options: object) -> None:
    """Pictures, depth, videos and shapes of the scenes of some seeds."""
    generate(Options(**options))


def generate(options: Options) -> None:
    """Everything that the options ask for. Raises the errors of dnnlib.errors."""
    session = open_session(options)
    kept = write_pictures(session)
    if options.pose == 'learned':
        write_poses(session)
    if options.video:
        write_videos(session, kept)
    print(f'Look at {", ".join(str(session.folder / name) for name in worth_a_look(session))}')


def open_session(options: Options) -> Session:
    seeds = parse_seeds(options.seeds)
    device = pick_device(options.device)
    weights = find_snapshot(options.network)
    generator, snapshot = load_generator(weights, device)
    subjects = choose_subjects(options, seeds, generator.config.num_classes, snapshot.class_names)
    shape = choose_shape(options, len(seeds), len(subjects))
    if options.video and len(subjects) > MOST_VIDEO_CELLS:
        raise UsageError(f'a video shows at most {MOST_VIDEO_CELLS} scenes, and {len(subjects)} were asked for. Give fewer --seeds.')
    front = front_of(snapshot.cameras)
    if options.pose == 'learned' and not finds_cameras(snapshot.config):
        known = 'a law of cameras that was given' if snapshot.config.cameras is not None else 'the cameras of its data'
        raise UsageError(f'--pose learned: {weights.name} has found no cameras, it was trained under {known}. Use --view law to draw from those.')
    if options.follows_law:
        cameras = law_cameras(generator, snapshot, subjects, front, device)
    else:
        cameras = chosen_view(options, front).camera(device).repeat_interleave(len(subjects))
    folder = weights.parent / 'samples' if options.outdir is None else Path(options.outdir)
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return Session(options, generator, snapshot, subjects, shape, front, cameras, folder, device)


def choose_subjects(options: Options, seeds: list[int], num_classes: int, names: tuple[str, ...]) -> list[Subject]:
    """What to make, in the order of the grid. The class of a seed is drawn, and said, when the user left it open."""
    if options.classes:
        if num_classes == 0:
            raise UsageError('this network was trained without classes, so --classes has nothing to show.')
        return [Subject(seed, index, f'seed{seed:04d}_class{index:04d}') for index in range(num_classes) for seed in seeds]
    if options.class_ is not None:
        index = class_index(options.class_, num_classes, names or None)
        return [Subject(seed, index, f'seed{seed:04d}') for seed in seeds]
    if num_classes == 0:
        return [Subject(seed, None, f'seed{seed:04d}') for seed in seeds]
    drawn = drawn_classes(seeds, num_classes)
    print('class of each seed: ' + ', '.join(f'{seed}: {names[index] if names else index}' for seed, index in zip(seeds, drawn)))
    return [Subject(seed, index, f'seed{seed:04d}') for seed, index in zip(seeds, drawn)]


def choose_shape(options: Options, num_seeds: int, num_subjects: int) -> tuple[int, int]:
    """Columns and rows of the grids."""
    if options.grid is None:
        return (num_seeds, num_subjects // num_seeds) if options.classes and num_seeds > 1 else near_square(num_subjects)
    columns, rows = parse_shape(options.grid)
    if columns * rows < num_subjects:
        raise UsageError(f'--grid {options.grid} has {columns * rows} cells, but {num_subjects} scenes were asked for.')
    return columns, rows


def chosen_view(options: Options, front: Viewpoint) -> Viewpoint:
    yaw_deg, pitch_deg = options.direction_deg
    return Viewpoint(
        front.radius, front.fov_x_deg, front.target, front.yaw_deg if yaw_deg is None else yaw_deg, front.pitch_deg if pitch_deg is None else pitch_deg
    )


def asked_of(generator: Generator3D, subjects: Sequence[Subject], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Latents [N, z_dim] and classes [N] of these subjects."""
    z = latents([subject.seed for subject in subjects], generator.config.z_dim, device)
    return z, torch.tensor([subject.class_ for subject in subjects], device=device) if generator.config.num_classes else None


def law_cameras(generator: Generator3D, snapshot: Snapshot, subjects: Sequence[Subject], front: Viewpoint, device: torch.device) -> Camera:
    """One camera for each subject: the one that the generator invents for it, else one of the law, of the subject's class if it was read by class."""
    if generator.pose_learner is not None:
        return own_cameras(generator, *asked_of(generator, subjects, device), front.camera(device))
    seeds, classes = [subject.seed for subject in subjects], [subject.class_ for subject in subjects]
    return drawn_cameras(snapshot.cameras, seeds, device, classes, snapshot.camera_classes)


def write_poses(session: Session) -> None:
    """poses.png: cameras of 1000 seeds, of the class that was asked for, or of all classes in turn."""
    generator = session.generator
    classes: list[int | None] = list(range(generator.config.num_classes)) or [None]
    if session.options.class_ is not None:
        classes = [session.subjects[0].class_]
    subjects = [Subject(seed, classes[seed % len(classes)], '') for seed in range(POSES_SHOWN)]
    cameras = law_cameras(generator, session.snapshot, subjects, session.front, session.device)
    name = 'learned by the generator' if generator.pose_learner is not None else 'read off the training pictures'
    save_picture(session.folder / 'poses.png', pose_picture('Cameras of the network', [Poses.of(name, cameras, session.front.target)]))


def write_pictures(session: Session) -> list[Scene]:
    """Stills and shapes of every subject, their grid, and with --pose orbit one of all directions. Returns the scenes, in batches, when the video will look at them again."""
    options, kept, outputs = session.options, [], []
    around = [camera.to(session.device) for camera in directions(chosen_view(options, session.front))]
    turns: list[list[Still]] = [[] for _ in around]  # the columns of orbit.png
    with tqdm(total=len(session.subjects), desc='pictures', unit='scene', disable=None) as progress:
        for rows in batches(len(session.subjects), options.batch):
            scene = session.scene(rows, session.cameras[rows])
            output = look_at_scene(session.generator, scene, session.cameras[rows], options.resolution)
            outputs.append(Still.of(output))
            pictures = outputs[-1].by_kind(options)
            for offset, subject in enumerate(session.subjects[rows]):
                for kind, of_kind in pictures.items():
                    save_picture(session.folder / f'{subject.stem}{kind}.png', of_kind[offset])
                if options.shapes:
                    write_shape(session, Scene(scene.ws[offset:offset + 1], scene.planes[offset:offset + 1]), subject.stem)
                progress.update()
            if options.pose == 'orbit':
                for column, camera in zip(turns, around, strict=True):
                    seen = session.scene(rows, camera) if session.remakes_scenes else scene
                    column.append(Still.of(look_at_scene(session.generator, seen, camera, options.resolution)))
            if options.video and not session.remakes_scenes:
                kept.append(scene)
    if len(session.subjects) > 1 or options.grid is not None:
        for kind, pictures in Still.cat(outputs).by_kind(options, shared_range=True).items():
            blank = 0 if kind == '_depth' else 255  # near is bright: an empty cell is no thing close by
            save_picture(session.folder / f'grid{kind}.png', tile(shrink_to_fit(pictures, *session.shape), *session.shape, blank))
    if options.pose == 'orbit':
        shape = (len(around), len(session.subjects))
        for kind, pictures in Still.cat([still for column in turns for still in column]).by_kind(options, shared_range=True).items():
            by_subject = pictures.reshape(*shape, *pictures.shape[1:]).swapaxes(0, 1).reshape(pictures.shape)
            save_picture(session.folder / f'orbit{kind}.png', tile(shrink_to_fit(by_subject, *shape), *shape))
    return kept


def directions(view: Viewpoint) -> list[Camera]:
    """Eight cameras all around, from the view to the viewer's right."""
    path = orbit_path(
        DIRECTIONS, radius=view.radius, fov_x_deg=view.fov_x_deg, pitch_deg=view.pitch_deg, start_yaw_deg=view.yaw_deg, target=view.target)
    return [path[index] for index in range(DIRECTIONS)]


@dataclass(frozen=True, slots=True)
class Still:
    """What is kept of an Output until all are there: pictures in 8 bits, depth in full, on the CPU."""

    image: np.ndarray       # uint8 [N, S, S, 3]
    image_raw: np.ndarray   # uint8 [N, r, r, 3]
    depth: Tensor           # [N, 1, r, r]
    opacity: Tensor         # [N, 1, r, r]

    @staticmethod
    def of(output: Output) -> 'Still':
        return Still(to_pictures(output.image), to_pictures(output.image_raw), output.depth.cpu(), output.opacity.cpu())

    @staticmethod
    def cat(stills: 'list[Still]') -> 'Still':
        return Still(np.concatenate([still.image for still in stills]), np.concatenate([still.image_raw for still in stills]),
                     torch.cat([still.depth for still in stills]), torch.cat([still.opacity for still in stills]))

    def by_kind(self, options: Options, shared_range: bool = False) -> dict[str, np.ndarray]:
        """Pictures by the suffix of their file names: what was asked for."""
        kinds = {'': self.image}
        if options.raw:
            kinds['_raw'] = self.image_raw
        if options.depth:
            kinds['_depth'] = depth_pictures(self.depth, self.opacity, shared_range=shared_range)
        return kinds


def worth_a_look(session: Session) -> list[str]:
    """One file of each kind that was written."""
    options, first = session.options, session.subjects[0].stem
    together = len(session.subjects) > 1 or options.grid is not None
    names = ['grid.png' if together else f'{first}.png']
    names += [f'{"grid" if together else first}_depth.png'] * options.depth
    names += ['orbit.png'] * (options.pose == 'orbit') + ['poses.png'] * (options.pose == 'learned')
    names += [f'{options.path}.{options.format}'] * options.video
    return names + [f'{first}.{shape}' for shape in options.shapes]


def write_shape(session: Session, scene: Scene, stem: str) -> None:
    """The surface of one scene in every format that was asked for."""
    options, generator = session.options, session.generator
    field, rendering = generator.field(scene.planes), generator.config.rendering
    mesh = coloured_surface(field, rendering, options.shape_res, options.level, options.largest, session.device)
    for shape_format in options.shapes:
        write_mesh(session.folder / f'{stem}.{shape_format}', mesh)


def write_videos(session: Session, kept: list[Scene]) -> None:
    """One video of all scenes side by side, and with --depth a second one of their depth, in one range so that it does not flicker."""
    options, depths = session.options, []
    cameras = video_path(options, chosen_view(options, session.front))

    def frames() -> Iterator[np.ndarray]:
        for index in tqdm(range(len(cameras)), desc='video', unit='frame', disable=None):
            camera = cameras[index].to(session.device)
            scenes = kept or (session.scene(rows, camera) for rows in batches(len(session.subjects), options.batch))
            outputs = [look_at_scene(session.generator, scene, camera, options.resolution) for scene in scenes]
            if options.depth:
                depths.append([(output.depth.half().cpu(), output.opacity.half().cpu()) for output in outputs])
            yield arrange(session, np.concatenate([to_pictures(output.image) for output in outputs]))

    write_video(session.folder / f'{options.path}.{options.format}', frames(), options.fps)
    if options.depth:
        pairs = [(torch.cat([depth for depth, _ in frame]), torch.cat([opacity for _, opacity in frame])) for frame in depths]
        limits = torch.cat([depth_limits(*pair) for pair in pairs])
        near_far = (float(limits[:, 0].min()), float(limits[:, 1].max()))
        pictures = (arrange(session, depth_pictures(*pair, limits=near_far)) for pair in pairs)
        write_video(session.folder / f'{options.path}_depth.{options.format}', pictures, options.fps)


def arrange(session: Session, pictures: np.ndarray) -> np.ndarray:
    return tile(shrink_to_fit(pictures, *session.shape, LARGEST_VIDEO_SIDE_PX), *session.shape)


def video_path(options: Options, view: Viewpoint) -> Camera:
    """One camera per frame."""
    stand = {'radius': view.radius, 'fov_x_deg': view.fov_x_deg, 'target': view.target}
    if options.path == 'orbit':
        return orbit_path(options.frames, pitch_deg=view.pitch_deg, start_yaw_deg=view.yaw_deg, **stand)
    return wiggle_path(options.frames, centre_yaw_deg=view.yaw_deg, centre_pitch_deg=view.pitch_deg, **stand)


if __name__ == '__main__':
    run_command(main)
