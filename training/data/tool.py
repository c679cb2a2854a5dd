"""The conversion behind dataset_tool.py: any folder or zip of pictures -> a data set that training never stumbles over.

First every file is looked at (headers, labels, cameras), then every picture is decoded and framed, and only if the policy allows what was
found does the result appear under its name. Every problem is reported, in one list.
"""

from __future__ import annotations

import io
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from dnnlib.errors import DataError, UsageError
from training.data.archive import open_dataset
from training.data.framing import Framing, Transform, frame
from training.data.knowledge import ClassRule, gather
from training.data.labels import FILE, Label, Labels, labels_to_json
from training.data.pixels import Header, UnusableImage, decode, read_header
from training.data.problems import Problem, Trouble, listed, refuse
from training.data.source import Source, UnreadableFile, open_source
from training.data.synthetic import PREFIX
from training.data.synthetic_source import SyntheticSource
from training.data.writer import check_destination, open_writer

OnBad = Literal['strict', 'skip', 'convert']
MIXED, NOT_SQUARE, ROTATED = 'another size than most', 'not square', 'rotated by EXIF'
_REFUSED, _DROPPED, _MENDED, _IGNORED = 'refused', 'dropped', 'mended', 'ignored'
# Wrong labels and cameras are never mended: a guess would be trained on without anybody knowing. Damage to an archive is never ignored.
_ALWAYS = {Trouble.LABEL: _REFUSED, Trouble.CAMERA: _REFUSED, Trouble.ARCHIVE: _REFUSED}
POLICY: dict[OnBad, dict[Trouble, str]] = {
    'strict': {trouble: _REFUSED for trouble in Trouble},
    'skip': {Trouble.UNUSABLE: _DROPPED, Trouble.LAYOUT: _DROPPED, Trouble.GEOMETRY: _DROPPED, Trouble.EXTRA_LABEL: _IGNORED, **_ALWAYS},
    'convert': {Trouble.UNUSABLE: _DROPPED, Trouble.LAYOUT: _MENDED, Trouble.GEOMETRY: _MENDED, Trouble.EXTRA_LABEL: _IGNORED, **_ALWAYS},
}
MAX_BAD: dict[OnBad, float] = {'strict': 0.0, 'skip': 0.001, 'convert': 0.05}


@dataclass(frozen=True, slots=True)
class ToolConfig:
    """What to convert and how.

    dest None: only look (nothing is written). resolution: (width, height), None keeps the size. transform None: center-crop where it is
    needed. max_bad: share of the files that may be dropped (at least one file may), None for the default of `on_bad`. background: RGB
    behind transparent pixels and in bars. workers: threads; the result does not depend on it.
    """

    source: str
    dest: str | None = None
    resolution: tuple[int, int] | None = None
    transform: Transform | None = None
    max_images: int | None = None
    classes: ClassRule = 'auto'
    on_bad: OnBad = 'convert'
    max_bad: float | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    max_megapixels: float = 50.0
    workers: int = 1
    overwrite: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        wide = self.transform == 'center-crop-wide'
        if wide and self.resolution is None:
            raise UsageError('--transform center-crop-wide needs --resolution WxH.')
        if self.resolution is not None:
            width, height = self.resolution
            if not (4 <= height <= width <= 4096) or (width != height and not wide):
                raise UsageError(
                    f'--resolution {width}x{height}: expected a square of 4 to 4096 pixels (W > H only with --transform center-crop-wide).'
                )
        numbers = (('--max-images', self.max_images, 1), ('--workers', self.workers, 1), ('--max-megapixels', self.max_megapixels, 0.01))
        for flag, value, least in numbers:
            if value is not None and not value >= least:
                raise UsageError(f'{flag} {value}: must be at least {least}.')
        if self.max_bad is not None and not 0 <= self.max_bad <= 1:
            raise UsageError(f'--max-bad {self.max_bad}: a share between 0 and 1.')


@dataclass(slots=True)
class Report:
    """What was found and done: `count` images of `resolution` (width, height).

    dropped: files left out. mended: kinds of change, counted. ignored: what was not looked at, counted.
    """

    count: int = 0
    resolution: tuple[int, int] = (0, 0)
    class_names: tuple[str, ...] = ()
    num_classes: int = 0
    has_cameras: bool = False
    dropped: list[Problem] = field(default_factory=list)
    mended: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)

    def text(self) -> str:
        """For people."""
        classes = f'{self.num_classes} classes' if self.num_classes else 'no classes'
        cameras = 'a camera each' if self.has_cameras else 'no cameras'
        lines = [f'{self.count} images, {self.resolution[0]}x{self.resolution[1]}, {classes}, {cameras}']
        lines += [f'converted: {count} x {what}' for what, count in sorted(self.mended.items())]
        lines += [f'ignored: {count} {what}' for what, count in sorted(self.ignored.items())]
        if self.dropped:
            lines += [f'dropped: {len(self.dropped)} files', listed(self.dropped)]
        return '\n'.join(lines)


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    framing: Framing
    label: Label


def convert(config: ToolConfig) -> Report:
    """Run the conversion (or, with dest None, only the examination).

    Raises UsageError, MissingInputError, StorageError; DataError with every problem when the policy `config.on_bad` refuses what was found.
    """
    source = SyntheticSource(config.source) if config.source.startswith(PREFIX) else open_source(config.source)
    if config.dest is not None:
        check_destination(config.source, config.dest, config.overwrite)
    report = Report(ignored=source.ignored)
    problems = list(source.problems)
    headers = _look(source, config, problems)
    known = gather(source, headers, config.classes)
    problems += known.problems
    headers = {name: header for name, header in headers.items() if name not in known.left_out}
    if known.left_out:
        report.ignored['images that no transforms.json lists'] += len(known.left_out)
    problems += _geometry(headers, config) + _rotated_cameras(headers, known.labels)
    jobs = _jobs(headers, known.labels, problems, config)
    refused = _refused(problems, config)
    if not refused:
        _one_size(jobs)
    _summarise(report, jobs, known.labels)
    with ExitStack() as stack:
        # A list that is refused anyway is still decoded to its end, so that the report is complete; only nothing is written.
        writer = stack.enter_context(open_writer(config.dest)) if config.dest is not None and not refused else None
        labels = Labels(class_names=known.labels.class_names if report.num_classes else None)
        for job, result in _decode_all(source, jobs, config):
            if isinstance(result, Problem):
                problems.append(result)
                continue
            if writer is not None:
                labels.by_name[writer.add_image(result)] = replace(job.label, source=job.label.source or job.name)
            report.count += 1
        _judge(problems, len(source.names), report, config)
        if report.count == 0:
            raise DataError(f'{config.source} holds no usable images.{_hint(source)}')
        if writer is not None:
            writer.add_file(FILE, labels_to_json(labels))
    return report


def _look(source: Source, config: ToolConfig, problems: list[Problem]) -> dict[str, Header]:
    """Headers of the images that have one, in order; the others go to `problems`."""

    def look(name: str) -> Header | Problem:
        try:
            return read_header(source.read(name), config.max_megapixels)
        except UnreadableFile as error:
            return error.problem
        except UnusableImage as error:
            return Problem(name, Trouble.UNUSABLE, str(error))

    found = dict(zip(source.names, _in_order(look, source.names, config.workers, config.progress, 'looking'), strict=True))
    problems += [header for header in found.values() if isinstance(header, Problem)]
    return {name: header for name, header in found.items() if isinstance(header, Header)}


def _geometry(headers: dict[str, Header], config: ToolConfig) -> list[Problem]:
    """Shapes and layouts that are not what training wants. With an explicit --transform, not being square is no trouble."""
    problems = []
    sizes = Counter((h.width, h.height) for h in headers.values())
    usual = max(sizes, key=lambda size: (sizes[size], size)) if sizes else None
    for name, header in headers.items():
        size = (header.width, header.height)
        if header.layout is not None:
            problems.append(Problem(name, Trouble.LAYOUT, header.layout))
        if header.rotated:
            problems.append(Problem(name, Trouble.GEOMETRY, ROTATED))
        if size != usual:
            problems.append(Problem(name, Trouble.GEOMETRY, f'{MIXED} ({size[0]}x{size[1]}, most are {usual[0]}x{usual[1]})'))
        if size[0] != size[1] and config.transform is None:
            problems.append(Problem(name, Trouble.GEOMETRY, f'{NOT_SQUARE} ({size[0]}x{size[1]})'))
    return problems


def _rotated_cameras(headers: dict[str, Header], labels: Labels) -> list[Problem]:
    # Whether such a camera belongs to the stored or to the turned picture cannot be known.
    return [
        Problem(name, Trouble.CAMERA, 'has a camera and is rotated by EXIF; save it upright first')
        for name, header in headers.items()
        if header.rotated and name in labels.by_name and labels.by_name[name].camera25 is not None
    ]


def _jobs(headers: dict[str, Header], labels: Labels, problems: list[Problem], config: ToolConfig) -> list[_Job]:
    """What will be decoded, after dropping and after --max-images, which takes evenly from the whole list, and so from every class."""
    policy = POLICY[config.on_bad]
    out = {p.where for p in problems if policy[p.trouble] == _DROPPED}
    names = [name for name in headers if name not in out]
    if config.max_images is not None and config.max_images < len(names):
        names = [names[i * len(names) // config.max_images] for i in range(config.max_images)]
    jobs = []
    for name in names:
        framing = frame((headers[name].width, headers[name].height), config.transform or 'center-crop', config.resolution)
        jobs.append(_Job(name, framing, _framed_label(labels.by_name.get(name, Label()), framing)))
    return jobs


def _framed_label(label: Label, framing: Framing) -> Label:
    if label.camera25 is None:
        return label
    numbers = label.camera25.astype(np.float64)
    numbers[16:] = framing.intrinsics(numbers[16:].reshape(3, 3)).ravel()
    return replace(label, camera25=numbers.astype(np.float32))


def _one_size(jobs: list[_Job]) -> None:
    sizes = Counter(job.framing.canvas for job in jobs)
    if len(sizes) > 1:
        shown = ', '.join(f'{w}x{h} ({count})' for (w, h), count in sizes.most_common(4)) + (' ...' if len(sizes) > 4 else '')
        raise UsageError(f'The images have {len(sizes)} sizes: {shown}. Say which one you want: --resolution WxH.')


def _summarise(report: Report, jobs: list[_Job], labels: Labels) -> None:
    kept = Labels({job.name: job.label for job in jobs}, labels.class_names)
    report.num_classes = kept.num_classes
    report.class_names = labels.class_names or ()
    report.has_cameras = kept.has_cameras
    report.resolution = jobs[0].framing.canvas if jobs else (0, 0)


def _refused(problems: list[Problem], config: ToolConfig) -> bool:
    return any(POLICY[config.on_bad][p.trouble] == _REFUSED for p in problems)


def _decode_all(source: Source, jobs: list[_Job], config: ToolConfig) -> Iterator[tuple[_Job, bytes | Problem]]:
    """(job, PNG or what is wrong), in order."""

    def work(job: _Job) -> bytes | Problem:
        try:
            image = decode(source.read(job.name), config.background)
        except UnreadableFile as error:
            return error.problem
        except UnusableImage as error:
            return Problem(job.name, Trouble.UNUSABLE, str(error))
        return _png(job.framing.apply(image, config.background)) if config.dest is not None else b''

    results = _in_order(work, jobs, config.workers, config.progress, 'converting' if config.dest is not None else 'decoding')
    return zip(jobs, results, strict=True)


def _png(image: Image.Image) -> bytes:
    # Level 0: deflate implementations differ in what they make of the other levels, and stored pixels load fastest.
    buffer = io.BytesIO()
    image.save(buffer, format='png', compress_level=0, optimize=False)
    return buffer.getvalue()


def _in_order(function: Callable, items: Iterable, workers: int, progress: bool, what: str) -> Iterator:
    """map(function, items) on threads (decoding releases the interpreter lock), a few items ahead, with a progress bar."""
    items = list(items)
    hidden = None if progress else True  # None: hidden when stderr is no terminal
    with closing(tqdm(total=len(items), desc=what, unit='img', disable=hidden)) as bar, ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
                    bar.update()
            while waiting:
                yield waiting.popleft().result()
                bar.update()
        finally:
            for future in waiting:
                future.cancel()


def _judge(problems: list[Problem], total: int, report: Report, config: ToolConfig) -> None:
    """Raise, or sort the problems into the report."""
    policy = POLICY[config.on_bad]
    if _refused(problems, config):
        refuse(config.source, [p for p in problems if policy[p.trouble] != _MENDED], _advice(problems, config))
    for problem in problems:
        outcome = policy[problem.trouble]
        if outcome == _DROPPED:
            report.dropped.append(problem)
        elif outcome == _MENDED:
            report.mended[problem.reason.partition(' (')[0]] += 1
        else:
            report.ignored[problem.trouble.value] += 1
    share = MAX_BAD[config.on_bad] if config.max_bad is None else config.max_bad
    bad = len({p.where for p in report.dropped})
    if bad > max(1, int(share * total)):
        refuse(
            config.source, report.dropped,
            f'That is {bad} of {total} files, more than --on-bad {config.on_bad} leaves out silently ({share:.3g}). '
            f'Repair or remove them, or allow it with --max-bad {min(1.0, np.ceil(1000 * bad / total) / 1000):g}.',
        )


def _advice(problems: list[Problem], config: ToolConfig) -> str:
    always = {p.trouble for p in problems} & _ALWAYS.keys()
    if config.on_bad == 'strict' and not always:
        return '--on-bad convert repairs pixel layouts and sizes and leaves out what is no image; --on-bad skip leaves all of these out.'
    named = ' and '.join(sorted({Trouble.LABEL: 'labels', Trouble.CAMERA: 'cameras', Trouble.ARCHIVE: 'archives'}[t] for t in always))
    return f'Wrong {named} are refused in every mode, because guessing would spoil the set unnoticed. Correct them and run again.'


def _hint(source: Source) -> str:
    found = ', '.join(f'{count} {what}' for what, count in source.ignored.items())
    return f' Found, and ignored: {found}.' if found else ' It is empty.'


def check(path: str, workers: int = 1, progress: bool = False) -> Report:
    """Examine a finished data set: what training would stumble over, or not see. Writes nothing. Raises DataError with every problem."""
    report = convert(ToolConfig(source=os.fspath(path), on_bad='strict', classes='auto', workers=workers, progress=progress))
    seen = open_dataset(path)
    if (seen.num_classes, seen.has_cameras) != (report.num_classes, report.has_cameras):
        raise DataError(
            f'{path} holds {_known(report.num_classes, report.has_cameras)}, of which training would see {_known(seen.num_classes, seen.has_cameras)}: it reads '
            f'a {FILE} at the top and nothing else. Make a data set of it first: dataset_tool.py --source {path} --dest data.zip.'
        )
    return report


def _known(num_classes: int, has_cameras: bool) -> str:
    known = ([f'{num_classes} classes'] if num_classes else []) + (['cameras'] if has_cameras else [])
    return ' and '.join(known) or 'nothing'
