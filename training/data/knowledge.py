"""What a source knows about its images: dataset.json, folders that are classes, NeRF's transforms.json. Nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

import torch

from dnnlib.errors import DataError, UsageError
from training.cameras.convention import from_nerf_json, to_eg3d
from training.data.labels import FILE, Label, Labels, camera_problems, parse_json, parse_labels
from training.data.pixels import Header
from training.data.problems import Problem, Trouble
from training.data.source import IMAGE_EXTENSIONS, Source, UnreadableFile

ClassRule = Literal['auto', 'folder', 'none']
SPLITS = frozenset(('train', 'training', 'val', 'valid', 'validation', 'test', 'testing'))


@dataclass(frozen=True, slots=True)
class Knowledge:
    """labels: by image name. problems: what is wrong with them. left_out: images that are no part of the set."""

    labels: Labels
    problems: list[Problem]
    left_out: frozenset[str] = frozenset()


def gather(source: Source, headers: Mapping[str, Header], rule: ClassRule) -> Knowledge:
    """What is known about the images of `source`.

    `headers`: the images that can be read. rule 'folder': the top-level folders are the classes; 'none': no classes; 'auto': the classes of
    dataset.json if there is one, else the folders if they look like classes. Cameras come from dataset.json or transforms.json.
    """
    root = _wrapper(source)
    inside = {name.removeprefix(root): name for name in source.names}
    files = {name.removeprefix(root): name for name in source.json_names}
    labels, problems, left_out = Labels(), [], frozenset()
    if FILE in files:
        labels, problems = _from_dataset_json(source, files[FILE], inside)
    nerf = sorted(name for name in files if PurePosixPath(name).name.startswith('transforms'))
    if nerf and not labels.has_cameras:
        cameras, found = _from_transforms(source, {name: files[name] for name in nerf}, inside, headers)
        problems += found
        for name, camera in cameras.items():
            labels.by_name[name] = replace(labels.by_name.get(name, Label()), camera25=camera)
        # A transforms.json says which images it means; renderings of depth often lie beside them.
        left_out = frozenset(name for name in headers if cameras and name not in cameras)
        inside = {short: name for short, name in inside.items() if name not in left_out}
    if rule == 'none' or (rule == 'auto' and FILE in files):
        return Knowledge(_without_classes(labels) if rule == 'none' else labels, problems, left_out)
    folders = _class_folders(source, inside, root, rule, nerf=bool(nerf))
    if folders is None:
        return Knowledge(labels, problems, left_out)
    names, by_name = folders
    readable, found = _class_names(source, files, names)
    problems += found
    for name, class_id in by_name.items():
        labels.by_name[name] = replace(labels.by_name.get(name, Label()), class_id=class_id)
    return Knowledge(Labels(labels.by_name, readable), problems, left_out)


def _wrapper(source: Source) -> str:
    """The folder(s) around everything, as archives often have one: 'photos/' for photos/cat/1.jpg, photos/dog/1.jpg."""
    root = ''
    everything = source.names + source.json_names
    while everything:
        first, slash, _ = everything[0].removeprefix(root).partition('/')
        if not slash or not all(name.startswith(f'{root}{first}/') for name in everything):
            break
        root += f'{first}/'
    return root


def _read(source: Source, name: str) -> tuple[bytes, list[Problem]]:
    try:
        return source.read(name), []
    except UnreadableFile as error:
        return b'null', [error.problem]


def _without_classes(labels: Labels) -> Labels:
    return Labels({name: replace(label, class_id=None) for name, label in labels.by_name.items()})


def _from_dataset_json(source: Source, file: str, inside: Mapping[str, str]) -> tuple[Labels, list[Problem]]:
    data, problems = _read(source, file)
    if problems:
        return Labels(), problems
    labels, problems = parse_labels(data, list(inside))
    return Labels({inside[name]: label for name, label in labels.by_name.items()}, labels.class_names), problems


def _class_folders(
    source: Source, inside: Mapping[str, str], root: str, rule: ClassRule, nerf: bool
) -> tuple[list[str], dict[str, int]] | None:
    """(folder names, class number by image name) if the top-level folders are classes."""
    tops = {name: name.partition('/')[0] if '/' in name else '' for name in inside}
    folders = sorted(set(tops.values()) - {''})
    loose = [name for name, top in tops.items() if top == '']
    if rule == 'folder':
        if not folders and root:  # a single class
            only = root.strip('/').rpartition('/')[2]
            return [only], {name: 0 for name in inside.values()}
        if loose:
            shown = ', '.join(loose[:5]) + (' ...' if len(loose) > 5 else '')
            raise UsageError(f'--classes folder needs every image inside a class folder; {source.path} has {len(loose)} outside: {shown}.')
    elif loose or len(folders) < 2 or nerf or all(folder.isdigit() and len(folder) == 5 for folder in folders):
        return None  # five digits: the numbered folders of a StyleGAN data set
    if {folder.lower() for folder in folders} <= SPLITS:
        raise UsageError(
            f'The top-level folders of {source.path} are splits ({", ".join(folders)}), not classes. '
            f'Point --source at one of them, or mix them with --classes none.'
        )
    number = {folder: i for i, folder in enumerate(folders)}
    return folders, {inside[name]: number[top] for name, top in tops.items()}


def _class_names(source: Source, files: Mapping[str, str], folders: list[str]) -> tuple[tuple[str, ...], list[Problem]]:
    """Names for people, from classes.json ({"n01443537": "goldfish"}) where it has them."""
    if 'classes.json' not in files:
        return tuple(folders), []
    data, problems = _read(source, files['classes.json'])
    document, found = parse_json(data, 'classes.json')
    problems += found
    if problems:
        return tuple(folders), problems
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        return tuple(folders), [Problem('classes.json', Trouble.LABEL, 'expected an object from folder names to class names')]
    names = [document.get(folder, folder) for folder in folders]
    # Two folders may share a name (ImageNet has two cranes): then the folder tells them apart.
    return tuple(f'{n} ({f})' if names.count(n) > 1 else n for n, f in zip(names, folders, strict=True)), []


def _from_transforms(
    source: Source, files: Mapping[str, str], inside: Mapping[str, str], headers: Mapping[str, Header]
) -> tuple[dict[str, Any], list[Problem]]:
    """Cameras (float32 [25]) by image name."""
    cameras, problems = {}, []
    for short, full in files.items():
        data, found = _read(source, full)
        problems += found
        document, found = parse_json(data, short)
        problems += found
        if not isinstance(document, dict):
            continue
        here = PurePosixPath(short).parent
        frames, names = [], []
        for i, entry in enumerate(document['frames'] if isinstance(document.get('frames'), list) else []):
            name = _frame_image(here, entry, inside)
            if name is None:
                problems.append(Problem(f'{short} frame {i}', Trouble.EXTRA_LABEL, f'names no image here: {json.dumps(entry)[:60]}'))
            elif name in headers:
                size = {} if {'w', 'h'} <= {**document, **entry}.keys() else {'w': headers[name].width, 'h': headers[name].height}
                frames.append({**entry, **size})
                names.append(name)
        if frames:
            cameras |= _convert_frames(short, {**document, 'frames': frames}, names)
    problems += [Problem(name, Trouble.CAMERA, reason) for name, reason in camera_problems(cameras)]
    return {name: numbers.astype('float32') for name, numbers in cameras.items()}, problems


def _frame_image(here: PurePosixPath, entry: Any, inside: Mapping[str, str]) -> str | None:
    if not isinstance(entry, dict) or not isinstance(entry.get('file_path'), str):
        return None
    path = (here / entry['file_path'].replace('\\', '/')).as_posix()
    for candidate in [path] + [path + extension for extension in sorted(IMAGE_EXTENSIONS)]:
        if candidate in inside:
            return inside[candidate]
    return None


def _convert_frames(file: str, document: dict, names: list[str]) -> dict[str, Any]:
    try:
        numbers = to_eg3d(from_nerf_json(document)).to(torch.float64).numpy()
    except (TypeError, ValueError, AttributeError, RuntimeError, ZeroDivisionError) as error:
        raise DataError(f'{file} cannot be understood as NeRF cameras ({error}).') from error
    return dict(zip(names, numbers, strict=True))
