"""Turn a folder or zip of pictures into a data set for training, or check a data set.

    python dataset_tool.py --source photos/ --dest data.zip --resolution 64x64
    python dataset_tool.py --check data.zip
"""

from __future__ import annotations

import os
import re

import click
from PIL import ImageColor

from dnnlib.errors import UsageError, run_command
from training.data.framing import TRANSFORMS
from training.data.tool import MAX_BAD, ToolConfig, check, convert


def _resolution(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r'(\d{1,5})x(\d{1,5})', text)
    if not match:
        raise UsageError(f'--resolution {text}: expected WxH, for example 64x64.')
    return int(match[1]), int(match[2])


def _colour(text: str) -> tuple[int, int, int]:
    try:
        return ImageColor.getcolor(text, 'RGB')
    except ValueError as error:
        raise UsageError(f'--background {text}: expected a colour, for example white, black or #808080.') from error


@click.command(help=__doc__.replace('\n    python', '\n\n\b\n    python', 1))
@click.option('--source', help='Folder or zip (class folders are recognised), or synthetic:... .')
@click.option('--dest', help='What to write: a name that ends in .zip, or a folder.')
@click.option('--check', 'check_path', metavar='PATH', help='Examine a finished data set instead; writes nothing.')
@click.option('--resolution', metavar='WxH', help='Size of the images to write. Without it all images must have one size.')
@click.option('--transform', type=click.Choice(TRANSFORMS), help='How to make images square.  [default: center-crop]')
@click.option('--max-images', type=int, help='Take only so many, evenly from the whole list.')
@click.option('--classes', type=click.Choice(['auto', 'folder', 'none']), default='auto', show_default=True,
              help='auto: dataset.json if there is one, else top-level folders if they look like classes.')
@click.option('--on-bad', type=click.Choice(list(MAX_BAD)), default='convert', show_default=True,
              help='strict: list and refuse; skip: leave out; convert: repair layout and size, leave out what is no image.')
@click.option('--max-bad', type=float, help='Share of files that may be left out.  [default: 0.001 for skip, 0.05 for convert]')
@click.option('--background', default='white', show_default=True, help='Colour behind transparent pixels and in bars.')
@click.option('--max-megapixels', type=float, default=ToolConfig.__dataclass_fields__['max_megapixels'].default, show_default=True,
              help='Larger images are not decoded.')
@click.option('--workers', type=int, default=min(8, os.cpu_count() or 1), show_default=True,
              help='Threads; the result does not depend on it.')
@click.option('--overwrite', is_flag=True, help='Replace --dest if it exists.')
@click.option('--debug', is_flag=True, expose_value=False, help='Show the traceback of an error.')
def main(
    source: str | None, dest: str | None, check_path: str | None, resolution: str | None, transform: str | None, max_images: int | None,
    classes: str, on_bad: str, max_bad: float | None, background: str, max_megapixels: float, workers: int, overwrite: bool,
) -> None:
    if check_path is not None:
        if source is not None or dest is not None:
            raise UsageError('--check stands alone: give either --check PATH, or --source and --dest.')
        print(f'{check_path} is fine: {check(check_path, workers, progress=True).text()}')
        return
    if source is None or dest is None:
        raise UsageError('Give --source and --dest, or --check PATH. See --help.')
    config = ToolConfig(
        source=source, dest=dest, resolution=_resolution(resolution), transform=transform, max_images=max_images, classes=classes,
        on_bad=on_bad, max_bad=max_bad, background=_colour(background), max_megapixels=max_megapixels, workers=workers,
        overwrite=overwrite, progress=True,
    )
    report = convert(config)
    print(report.text())
    for number, name in enumerate(report.class_names):
        print(f'  class {number}: {name}')
    print(f'wrote {dest}')


if __name__ == '__main__':
    run_command(main)
