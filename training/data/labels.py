"""dataset.json: what is known about each image. Read strictly; every bad entry is listed.

    {"labels": [["00000/img00000000.png", X], ...], "classes": ["cat", "dog"]}

X is a class (an integer), a camera (25 numbers) or both: {"class": 3, "camera": [...]}. `"labels": null` means that nothing is known.
"classes", the names of the classes, may be left out, and so may "sources": {"00000/img00000000.png": "holiday/IMG_0042.JPG", ...}, the files that the
images were made from, for people who want to find them again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dnnlib.errors import DataError
from training.cameras.convention import EG3D_NUMBERS, from_eg3d
from training.data.problems import Problem, Trouble

FILE = 'dataset.json'
MAX_CLASSES = 100_000
MAX_RADIUS = 100.0  # farther cameras mean that the scene has not been scaled to the size of a few units


@dataclass(frozen=True, slots=True)
class Label:
    """What is known about one image: class number, camera (float32 [25]), either or neither; and the file that it was made from, if that is known."""

    class_id: int | None = None
    camera25: np.ndarray | None = None
    source: str | None = None

    def to_json(self) -> Any:
        """The X of dataset.json."""
        camera = None if self.camera25 is None else [float(v) for v in self.camera25]
        if camera is None or self.class_id is None:
            return self.class_id if camera is None else camera
        return {'class': self.class_id, 'camera': camera}


@dataclass(slots=True)
class Labels:
    """Labels by image name; `class_names` is None if the file does not name the classes."""

    by_name: dict[str, Label] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes, 0 if images have none."""
        known = [label.class_id for label in self.by_name.values() if label.class_id is not None]
        return max(len(self.class_names or ()), max(known) + 1) if known else 0

    @property
    def has_cameras(self) -> bool:
        return any(label.camera25 is not None for label in self.by_name.values())


def labels_to_json(labels: Labels) -> bytes:
    """The dataset.json of these labels, one entry per line."""
    lines = [json.dumps([name, label.to_json()]) for name, label in labels.by_name.items()]
    body = 'null' if all(label.to_json() is None for label in labels.by_name.values()) else '[\n' + ',\n'.join(lines) + '\n]'
    classes = '' if labels.class_names is None else f',\n"classes": {json.dumps(list(labels.class_names))}'
    made_from = [f'{json.dumps(name)}: {json.dumps(label.source)}' for name, label in labels.by_name.items() if label.source is not None]
    sources = ',\n"sources": {\n' + ',\n'.join(made_from) + '\n}' if made_from else ''
    return f'{{"labels": {body}{classes}{sources}}}\n'.encode()


def parse_json(data: bytes, where: str) -> tuple[Any, list[Problem]]:
    """(document, problems); broken JSON gives the line."""
    try:
        return json.loads(data.decode('utf-8-sig')), []
    except json.JSONDecodeError as error:
        return None, [Problem(f'{where} line {error.lineno}', Trouble.LABEL, f'is not JSON ({error.msg})')]
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        return None, [Problem(where, Trouble.LABEL, f'is not JSON ({type(error).__name__})')]


def parse_labels(data: bytes, image_names: Sequence[str]) -> tuple[Labels, list[Problem]]:
    """Labels for exactly these images, and everything that is wrong with the file."""
    document, problems = parse_json(data, FILE)
    if problems:
        return Labels(), problems
    if not isinstance(document, dict) or 'labels' not in document:
        expected = '{"labels": [["name.png", label], ...]} or {"labels": null}'
        return Labels(), [Problem(FILE, Trouble.LABEL, f'has no "labels"; expected {expected}')]
    class_names, problems = _class_names(document)
    sources, more = _sources(document)
    problems += more
    entries = document['labels']
    if entries is None:
        return Labels({name: Label(source=sources[name]) for name in image_names if name in sources}, class_names), problems
    if not isinstance(entries, list):
        return Labels(), [*problems, Problem(FILE, Trouble.LABEL, f'"labels" is {_kind(entries)}, expected a list or null')]
    return _Reader(data, image_names, class_names, sources, problems).read(entries)


def _class_names(document: dict) -> tuple[tuple[str, ...] | None, list[Problem]]:
    names = document.get('classes')
    if names is None:
        return None, []
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
        return None, [Problem(FILE, Trouble.LABEL, '"classes" must be a list of different names')]
    return tuple(names), []


def _sources(document: dict) -> tuple[dict[str, str], list[Problem]]:
    sources = document.get('sources', {})
    if not isinstance(sources, dict) or not all(isinstance(source, str) for source in sources.values()):
        return {}, [Problem(FILE, Trouble.LABEL, '"sources" must be an object from names of images to the files that they were made from')]
    return sources, []


class _Reader:
    """Reads the entries one after the other and collects what is wrong."""

    def __init__(
        self, data: bytes, image_names: Sequence[str], class_names: tuple[str, ...] | None, sources: dict[str, str], problems: list[Problem]
    ) -> None:
        self.data, self.images, self.class_names, self.sources, self.problems = data, set(image_names), class_names, sources, problems
        self.labels = Labels(class_names=class_names)
        self.lines: list[int] | None = None
        self.seen: dict[str, int] = {}
        self.cameras: dict[str, np.ndarray] = {}

    def read(self, entries: list) -> tuple[Labels, list[Problem]]:
        for number, entry in enumerate(entries):
            self._entry(number, entry)
        for name, reason in camera_problems(self.cameras):
            self._complain(self.seen[name], name, Trouble.CAMERA, reason)
        for name in sorted(self.images - self.seen.keys()):
            self.problems.append(Problem(name, Trouble.LABEL, f'has no label in {FILE}, which labels other images'))
        for what, which in (('class', 'class_id'), ('camera', 'camera25')):
            lacking = [name for name, label in self.labels.by_name.items() if getattr(label, which) is None]
            if 0 < len(lacking) < len(self.labels.by_name):
                self.problems += [Problem(name, Trouble.LABEL, f'has no {what} while other images have one') for name in lacking]
        return self.labels, self.problems

    def _entry(self, number: int, entry: Any) -> None:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
            self._complain(number, None, Trouble.LABEL, f'is {_kind(entry)}, expected ["name.png", label]')
            return
        name, value = entry[0].replace('\\', '/'), entry[1]
        if name in self.seen:
            self._complain(number, name, Trouble.LABEL, 'is labelled twice')
            return
        self.seen[name] = number
        if name not in self.images:
            self._complain(number, name, Trouble.EXTRA_LABEL, 'has a label, but there is no such image')
            return
        class_id, camera = (value.get('class'), value.get('camera')) if isinstance(value, dict) else (value, None)
        if isinstance(value, dict) and (not value or value.keys() - {'class', 'camera'}):
            self._complain(number, name, Trouble.LABEL, f'has the keys {sorted(value)}, expected "class", "camera" or both')
            return
        if isinstance(value, list):
            class_id, camera = None, value
        self._label(number, name, class_id, camera, given=value is not None)

    def _label(self, number: int, name: str, class_id: Any, camera: Any, given: bool) -> None:
        reason = None if class_id is None and given and camera is not None else _class_problem(class_id, self.class_names)
        if reason:
            self._complain(number, name, Trouble.LABEL, reason)
            return
        if camera is not None:
            reason = _numbers_problem(camera)
            if reason:
                self._complain(number, name, Trouble.CAMERA if len(camera) == EG3D_NUMBERS else Trouble.LABEL, reason)
                return
            camera = np.array(camera, dtype=np.float64)
            self.cameras[name] = camera
        self.labels.by_name[name] = Label(class_id, None if camera is None else camera.astype(np.float32), self.sources.get(name))

    def _complain(self, number: int, name: str | None, trouble: Trouble, reason: str) -> None:
        if self.lines is None:  # counted only if there is something to complain about
            self.lines = _entry_lines(self.data)
        line = self.lines[number]
        self.problems.append(Problem(f'{FILE} line {line}, entry {number}' + (f' ({name})' if name else ''), trouble, reason))


def _entry_lines(data: bytes) -> list[int]:
    """Line of each entry of "labels", counted from 1; the text is known to be JSON."""
    text = data.decode('utf-8-sig')
    start = re.search(r'"labels"\s*:\s*\[', text)
    lines, line, counted, at = [], 1, 0, start.end() if start else len(text)
    between = re.compile(r'[\s,]*')
    while True:
        at = between.match(text, at).end()
        if at >= len(text) or text[at] == ']':
            return lines
        line, counted = line + text.count('\n', counted, at), at
        lines.append(line)
        at = json.JSONDecoder().raw_decode(text, at)[1]


def _kind(value: Any) -> str:
    names = {dict: 'an object', list: 'a list', str: 'a text', bool: 'true or false', int: 'an integer', float: 'a fraction'}
    return 'null' if value is None else names[type(value)]


def _class_problem(value: Any, class_names: tuple[str, ...] | None) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f'its class is {_kind(value)} ({str(value)[:40]}), expected an integer'
    if value < 0:
        return f'its class is {value}; classes count from 0'
    if class_names is not None and value >= len(class_names):
        return f'its class is {value}, but "classes" names only {len(class_names)}'
    if value >= MAX_CLASSES:
        return f'its class is {value}; more than {MAX_CLASSES} classes are not supported'
    return None


def _numbers_problem(camera: Any) -> str | None:
    if not isinstance(camera, list):
        return f'its camera is {_kind(camera)}, expected {EG3D_NUMBERS} numbers'
    if len(camera) != EG3D_NUMBERS:
        return f'its camera has {len(camera)} numbers, expected {EG3D_NUMBERS} (4x4 world_from_camera, 3x3 intrinsics)'
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in camera):
        return 'its camera holds something that is not a number'
    if not all(abs(v) < 1e30 for v in camera):  # also false for NaN
        return 'its camera contains NaN or infinity'
    return None


def camera_problems(cameras: dict[str, np.ndarray]) -> Iterator[tuple[str, str]]:
    """(name, reason) for each camera [25] that cannot be right. A pose is never guessed or mended."""
    if not cameras:
        return
    names = list(cameras)
    numbers = torch.from_numpy(np.stack([cameras[name] for name in names]).astype(np.float64))
    camera = from_eg3d(numbers)
    origins, forwards = camera.origins, camera.forwards
    radius = origins.norm(dim=1)
    away = (forwards * origins).sum(1) >= 0
    try:
        camera.checked(names)
        checked = True
    except DataError:
        checked = False
    for i, name in enumerate(names):
        reason = None if checked else _refusal(from_eg3d(numbers[i : i + 1]))
        if reason:
            yield name, reason
        elif radius[i] > MAX_RADIUS:
            yield name, f'its camera is {radius[i]:.3g} units from the origin, more than {MAX_RADIUS:g}; scale the scene to a few units'
        elif away[i]:
            yield name, 'its camera looks away from the origin of the world; is it an OpenGL pose (y up, z backwards)?'


def _refusal(camera) -> str | None:
    try:
        camera.checked(['camera'])
    except DataError as error:
        return 'its camera is refused: ' + str(error).partition('): ')[2].rstrip('.')
    return None
