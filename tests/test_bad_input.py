"""A hostile user: full disks, kills at any moment, damaged files, data that changed. One message, the right exit code, nothing half-written."""

import errno
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Self

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image

import train
from dnnlib import atomic
from dnnlib.errors import DataError, UsageError, command_line
from tests.training.tiny import SETTINGS, WAYS, config_of
from torch_utils import checkpoint
from training.build import build
from training.cameras.distributions import Fixed
from training.networks.pose import PoseLearnerConfig
from training.snapshot import load_generator

ROOT = Path(__file__).resolve().parents[1]
TINY = [argument for setting in (*SETTINGS, 'loop.snapshot_ticks=1') for argument in ('--set', setting)]


def run(*arguments: str | Path) -> int:
    """train.py in this process; its exit code."""
    with pytest.raises(SystemExit) as ended:
        command_line(functools.partial(train.main.main, [str(argument) for argument in (*arguments, '--gpus', '1')], standalone_mode=False))()
    return ended.value.code or 0


def start(outdir: Path, *arguments: str, kimg: str = '0.048') -> Path:
    """A finished tiny run; its folder."""
    assert run('--cfg', 'demo', *TINY, '--kimg', kimg, '--outdir', outdir, *arguments) == 0
    (folder,) = outdir.iterdir()
    return folder


def states(folder: Path) -> set[str]:
    return {path.name.removeprefix('training-state-') for path in folder.glob('training-state-*')}


class FullDisk:
    """`open` of a disk that fills up in the middle of the `nth` file that is called `name`."""

    def __init__(self, name: str, nth: int = 1) -> None:
        self.name, self.left = name, nth

    def __call__(self, path: Path, *arguments: str, **keywords: str) -> IO:
        file = open(path, *arguments, **keywords)  # noqa: SIM115  the caller closes it
        self.left -= path.name.endswith(self.name)
        if path.name.endswith(self.name) and self.left == 0:
            write = file.write

            def half(data: bytes | str) -> int:
                write(data[: len(data) // 2])
                raise OSError(errno.ENOSPC, 'No space left on device')

            file = _Writing(file, half)
        return file


class _Writing:
    """A file with another `write`."""

    def __init__(self, file: IO, write: Callable) -> None:
        self._file, self.write = file, write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def flush(self) -> None:
        self._file.flush()


@pytest.mark.parametrize(
    'name, nth, kept', [('000000048.pt', 1, 32), ('000000048.json', 1, 32), ('network-snapshot-000000.safetensors', 3, 48)], ids=['state', 'manifest', 'weights']
)
def test_a_full_disk_keeps_the_last_good_state(tmp_path: Path, monkeypatch, capsys, name: str, nth: int, kept: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(atomic, 'open', FullDisk(name, nth), raising=False)
        code = run('--cfg', 'demo', *TINY, '--kimg', '0.064', '--outdir', tmp_path)
    errors = capsys.readouterr().err
    (folder,) = tmp_path.iterdir()
    assert code == 74 and errors.count('error: ') == 1 and name in errors and 'No space left' in errors
    assert not list(folder.glob('.tmp*'))
    assert states(folder) == {f'{nimg:09d}{suffix}' for nimg in (kept - 16, kept) for suffix in ('.pt', '.json')}
    load_generator(folder)
    assert run('--resume', folder) == 0, 'the run goes on when there is room again'
    assert checkpoint.newest_state(folder).stem.endswith('064')


def test_kill_9_and_resume_end_where_an_uninterrupted_run_ends(tmp_path: Path) -> None:
    whole = start(tmp_path / 'whole', kimg='0.16')
    command = [sys.executable, str(ROOT / 'train.py'), '--cfg', 'demo', *TINY, '--kimg', '0.16', '--gpus', '1', '--outdir', str(tmp_path / 'killed')]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob('killed/*/training-state-*.json')):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    (folder,) = (tmp_path / 'killed').iterdir()
    (folder / '.tmp-0-training-state-000000064.pt').write_bytes(b'half a state')
    assert run('--resume', folder) == 0
    assert not list(folder.glob('.tmp*'))
    ours, theirs = (checkpoint.load_state(checkpoint.newest_state(where)) for where in (folder, whole))
    for parts in (ours, theirs):
        parts['progress'].pop('seconds')
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def images(folder: Path, classes: list[int]) -> Path:
    """A folder data set of 8x8 noise with a class for each image."""
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (len(classes), 8, 8, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f'{number}.png')
    (folder / 'dataset.json').write_text(json.dumps({'labels': [[f'{n}.png', c] for n, c in enumerate(classes)], 'classes': ['a', 'b', 'c']}))
    return folder


def test_a_run_is_not_resumed_on_other_data(tmp_path: Path, capsys) -> None:
    data = images(tmp_path / 'data', [0, 2] * 6)  # class 1 has a name and no images, which is nobody's mistake
    arguments = ('--cfg', 'photos', *TINY, '--set', f'data.path={data}', '--kimg', '0.016', '--outdir', str(tmp_path / 'runs'))
    assert run(*arguments) == 0
    (folder,) = (tmp_path / 'runs').iterdir()
    before = states(folder)
    images(data, [0, 2] * 5 + [2, 0])
    assert run('--resume', folder, '--kimg', '0.032') == 65
    assert "'data' is not the data set" in capsys.readouterr().err
    data.rename(tmp_path / 'elsewhere')
    assert run('--resume', folder, '--kimg', '0.032') == 66
    assert states(folder) == before


def test_damage_in_a_run_folder(tmp_path: Path, capsys) -> None:
    folder = start(tmp_path / 'runs')
    newest = checkpoint.newest_state(folder)
    newest.write_bytes(newest.read_bytes()[:1000])
    assert run('--resume', folder) == 0, 'it goes back to the state before'
    assert 'bad-' + newest.name in capsys.readouterr().err and checkpoint.newest_state(folder) == newest

    options = folder / train.OPTIONS_FILE
    for text in ('', '{', '[]', options.read_text().replace('"seed"', '"sead"')):
        options.write_text(text)
        assert run('--resume', folder) == 65
        assert train.OPTIONS_FILE in capsys.readouterr().err


EDITS = {
    'another configuration': lambda header: header['config']['generator'].update(z_dim=16),
    'an ill-typed setting': lambda header: header['config']['generator'].update(z_dim='x'),
    'a class to build': lambda header: header['config'].update(class_name='os.system'),
    'no kimg': lambda header: header['extra'].pop('kimg'),
    'names that are a number': lambda header: header['extra'].update(class_names=3),
    'extra that is a list': lambda header: header.update(extra=[1]),
}


def test_weights_files_that_were_edited(tmp_path: Path) -> None:
    source = start(tmp_path / 'runs', kimg='0.016') / 'network-snapshot-000000.safetensors'
    with safetensors.safe_open(source, 'pt') as file:
        header, tensors = file.metadata()['unposed'], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for what, edit in EDITS.items():
        edited, path = json.loads(header), tmp_path / 'edited.safetensors'
        edit(edited)
        safetensors.torch.save_file(tensors, path, {'unposed': json.dumps(edited)})
        with pytest.raises(DataError, match='edited.safetensors'):
            load_generator(path)
            pytest.fail(f'{what} was taken')


def way(name: str) -> list[str]:
    """The arguments of a tiny run of one of the ways to train."""
    preset, *own = WAYS[name]
    return ['--cfg', preset, *(part for setting in (*SETTINGS, *own, 'loop.snapshot_ticks=1') for part in ('--set', setting))]


@pytest.mark.parametrize(
    'name, settings, says',
    [
        ('views apart', ('gan.views=0',), 'number of views of a scene and must be at least 1; found 0'),
        ('views apart', ('gan.views_discriminator=0',), 'gan.views_discriminator'),
        ('views apart', ('gan.shares_fakes=true', 'gan.views_discriminator=1'), 'gan.shares_fakes shows the discriminator'),
        ('views together', ('gan.views=5',), '5 pictures of a scene do not fill discriminator.mbstd_group=4'),
        ('views together', ('gan.mirror_weight=1',), '3 pictures of a scene do not fill'),
        ('views together', ('gan.views=8', 'gan.views_discriminator=1'), '8 pictures of a scene do not fill'),
        ('views jointly', ('gan.views=3',), 'discriminator.views_together=2'),
        ('views jointly', ('gan.views_discriminator=1',), 'discriminator.views_together=2'),
        ('views jointly', ('gan.view_order=apart',), 'discriminator.views_together=2'),
        ('views jointly', ('gan.mirror_weight=1',), 'discriminator.views_together=2'),
        ('views jointly', ('loop.batch=9', 'discriminator.mbstd_group=3'), 'a batch of 9 cannot be divided'),
        ('views jointly', ('loop.batch=6', 'loop.batch_gpu=3'), 'a batch of 3 cannot be divided'),
        ('views jointly', ('discriminator.conditions_on_camera=true',), 'no common camera'),
        ('poses read', ('cameras=none',), 'reading needs a law of cameras'),
        ('poses read', ('discriminator.pose=none',), 'discriminator.pose'),
        ('poses read', ('generator.conditions_on_camera=true',), 'no network can be told'),
        ('poses learned', ('cameras=none',), 'generator.pose needs a law of cameras'),
        ('poses learned', ('discriminator.conditions_on_camera=true',), 'no network can be told'),
        ('poses learned', ('gan.views=2',), 'set gan.views=1'),
        ('poses learned', ('loop.batch_gpu=2',), 'of 2 rows the generated pictures would form groups'),
        ('poses learned', ('ada.mode=ada', 'augment.rotate=1', 'augment.xflip=1'), 'set augment.xflip=0 and augment.rotate=0'),
        ('poses read', ('gan.far_hold_kimg=0', 'gan.far_fade_kimg=0'), 'give gan.far_hold_kimg'),
        ('poses read', ('gan.far_hold_kimg=-1',), 'cannot be negative'),
        ('poses read', ('cameras.radius=10',), 'Cameras at a distance of 10'),
        ('views apart', ('gan.w_average_beta=5',), 'gan.w_average_beta lies between 0 and 1'),
        ('views apart', ('gan.style_mixing_probability=-1',), 'lies between 0 and 1'),
        ('poses learned', ('gan.pose_reading_weight=0',), 'teaches it nothing'),
        ('poses read', ('reading.law=arranged', 'reading.arranged=0'), 'set reading.law=read'),
        ('poses read', ('gan.render_resolution_final=16',), 'needs super-resolution'),
        ('views apart', ('gan.pose_told_weight=1',), 'give it discriminator.pose'),
        ('views apart', ('discriminator.conditions_on_pose=true',), 'needs a reader of poses'),
        ('poses read', ('reading.exploration=2',), 'exploration a probability'),
        ('poses read', ('discriminator.pose.channels=4,4,4,4',), 'give fewer'),
    ],
)
def test_ways_that_contradict_themselves(tmp_path: Path, capsys, name: str, settings: tuple[str, ...], says: str) -> None:
    """One line before anything is built or written."""
    assert run(*way(name), *(part for setting in settings for part in ('--set', setting)), '--outdir', tmp_path / 'runs') == 64
    errors = capsys.readouterr().err
    assert errors.count('error: ') == 1 and says in errors and 'Traceback' not in errors
    assert not list(tmp_path.rglob('training-state*'))


@pytest.mark.parametrize('text', ['nan', '-1', '-inf'])
def test_a_lesson_lasts_some_time_or_for_good(text: str) -> None:
    with pytest.raises(UsageError, match=r'gan\.pose_arranged_hold_kimg cannot be negative'):
        config_of('poses read', f'gan.pose_arranged_hold_kimg={text}')
    assert config_of('poses read', 'gan.pose_arranged_hold_kimg=inf').gan.pose_arranged_hold_kimg > 1e9


def test_cameras_that_leave_nothing_to_be_found() -> None:
    reads, learns = config_of('poses read'), config_of('poses learned')
    invents_too = replace(reads, generator=replace(reads.generator, pose=PoseLearnerConfig()))
    for config, says in (
        (replace(reads, cameras=Fixed()), 'leaves nothing to be found'),
        (replace(learns, cameras=Fixed()), 'leaves nothing to be found'),
        (invents_too, 'either invented .* or read'),
    ):
        with pytest.raises(UsageError, match=says):
            build(config)


def test_data_without_classes(tmp_path: Path, capsys) -> None:
    """Refused where the method generates by class, and otherwise trained on without any."""
    data = images(tmp_path / 'data', [0] * 16)
    (data / 'dataset.json').unlink()
    arguments = (*way('views apart'), '--set', f'data.path={data}', '--kimg', '0.016', '--outdir', str(tmp_path / 'runs'))
    assert run(*arguments, '--set', 'data.needs_classes=true') == 65
    errors = capsys.readouterr().err
    assert errors.count('error: ') == 1 and 'no classes in its labels' in errors and not (tmp_path / 'runs').exists()
    assert run(*arguments, '--set', 'data.needs_classes=false') == 0


def test_class_folders_that_are_mixed_are_mentioned(tmp_path: Path, capsys) -> None:
    for name in ('cat/1.png', 'dog/2.png', '00000/3.png', '00001/4.png'):
        (tmp_path / name).parent.mkdir()
        Image.new('RGB', (32, 32)).save(tmp_path / name)
    assert run('--cfg', 'photos', '--data', tmp_path, '--set', 'data.needs_classes=false', '--metrics', 'none', '--dry-run') == 0
    assert 'lie in 2 folders' in capsys.readouterr().err
    (tmp_path / 'cat/1.png').rename(tmp_path / 'dog/1.png')
    assert run('--cfg', 'photos', '--data', tmp_path, '--set', 'data.needs_classes=false', '--metrics', 'none', '--dry-run') == 0
    assert 'folders' not in capsys.readouterr().err


@pytest.mark.parametrize('name', ['views apart', 'pairs of a class', 'poses read'])
@pytest.mark.parametrize('classes', [[0] * 12, [0] * 11 + [2], [0, 1, 2]], ids=['one class', 'one image of a class', 'one image of each'])
def test_data_with_hardly_any_classes(tmp_path: Path, capsys, name: str, classes: list[int]) -> None:
    """It trains, and the rare ones are named once."""
    data = images(tmp_path / 'data', classes)
    assert run(*way(name), '--set', f'data.path={data}', '--kimg', '0.016', '--outdir', str(tmp_path / 'runs')) == 0
    said = capsys.readouterr().err
    assert said.count('Fewer than 20 images in: ') == 1 and 'error: ' not in said and 'Traceback' not in said


def test_cameras_that_nobody_looks_at_are_mentioned_once(tmp_path: Path, capsys) -> None:
    sentence = 'hold cameras'
    assert run(*way('poses learned'), '--kimg', '0.016', '--outdir', tmp_path / 'ignored') == 0
    captured = capsys.readouterr()
    assert (captured.err + captured.out).count(sentence) == 1
    (folder,) = (tmp_path / 'ignored').iterdir()
    assert run('--resume', folder, '--kimg', '0.032') == 0
    assert sentence not in ''.join(capsys.readouterr()), 'a resumed run has said it'
    start(tmp_path / 'used', kimg='0.016')
    assert sentence not in ''.join(capsys.readouterr())


@pytest.mark.parametrize('name', WAYS)
def test_a_dry_run_of_every_way(capsys, name: str) -> None:
    assert run(*way(name), '--dry-run') == 0
    assert 'Discriminator:' in capsys.readouterr().out


def test_views_need_whole_groups_on_every_process() -> None:
    """Eight rows are two groups of four; four processes would have half a group each."""
    config = config_of('views apart')
    assert config.loop.batch == 8 and config.discriminator.mbstd_group == 4
    config.refuse_contradictions(processes=2)
    with pytest.raises(UsageError, match='of 2 rows'):
        config.refuse_contradictions(processes=4)
