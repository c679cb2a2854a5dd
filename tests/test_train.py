"""The door train.py: help, dry run, two real steps, Ctrl-C and resume, and one clear message for each mistake."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import train
from dnnlib.errors import UsageError, run_command
from tests.training.tiny import SETTINGS
from torch_utils import checkpoint
from training.loop import Trainer
from training.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
TINY = [argument for setting in SETTINGS for argument in ('--set', setting)]


def command(*arguments: str) -> list[str]:
    alone = () if '--gpus' in arguments else ('--gpus', '1')
    return [sys.executable, str(ROOT / 'train.py'), *arguments, *alone]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def only_run(folder: Path) -> Path:
    (found,) = (folder / 'runs').iterdir()
    return found


def test_help_names_every_preset(tmp_path: Path) -> None:
    result = run('--help', cwd=tmp_path)
    assert result.returncode == 0
    assert all(name in result.stdout for name in PRESETS)
    assert '--resume' in result.stdout and '--set' in result.stdout


def test_dry_run_shows_settings_layers_and_memory_and_writes_nothing(tmp_path: Path) -> None:
    result = run('--cfg', 'demo', *TINY, '--gamma', '2.5', '--dry-run', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert 'gan.r1_gamma = 2.5' in result.stdout
    assert 'synthesis' in result.stdout and 'Memory: about' in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_run_leaves_what_people_look_for(tmp_path: Path) -> None:
    result = run('--cfg', 'demo', *TINY, '--kimg', '0.032', '--set', 'metrics.names=fd_photo', '--set', 'metrics.num=20', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = only_run(tmp_path)
    assert folder.name.startswith('00000-demo-')
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        'training_options.json', 'log.txt', 'stats.jsonl', 'reals.png', 'fakes_init.png', 'fakes000000.png', 'fakes000000_raw.png',
        'fakes000000_depth.png', 'network-snapshot-000000.safetensors', 'training-state-000000032.pt', 'metric-fd_photo.jsonl',
    }  # fmt: skip
    assert not [name for name in names if 'tmp' in name]
    last = json.loads((folder / 'stats.jsonl').read_text().splitlines()[-1])
    assert last['Progress/kimg']['mean'] == 0.032 and last['Loss/G/loss']['num'] == 16
    assert json.loads((folder / 'metric-fd_photo.jsonl').read_text())['results']['fd_photo'] > 0
    assert str(folder.relative_to(tmp_path)) in result.stdout


def test_a_resumed_run_goes_on_as_before_and_makes_the_snapshot_that_is_missing(tmp_path: Path) -> None:
    begun = run('--cfg', 'demo', *TINY, '--kimg', '0.032', '--threads', '2', cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    folder = only_run(tmp_path)
    made = folder / 'network-snapshot-000000.safetensors'
    weights = made.read_bytes()
    made.write_bytes(weights[:1000])  # as if the disk had been full
    asked = {'gpus': None, 'threads': None, 'device': None}
    assert train._as_before(folder, asked) == {'gpus': 1, 'threads': 2, 'device': 'cpu'}
    assert train._as_before(folder, asked | {'threads': 1}) == {'gpus': 1, 'device': 'cpu'}
    assert train._as_before(folder, asked | {'device': 'cuda'}) == {}

    again = subprocess.run([sys.executable, str(ROOT / 'train.py'), '--resume', str(folder)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and 'go on' not in again.stdout, again.stderr
    assert made.read_bytes() == weights

    longer = run('--resume', str(folder), '--kimg', '0.048', cwd=tmp_path)
    assert longer.returncode == 0 and json.loads((folder / 'training_options.json').read_text())['loop']['kimg'] == 0.048, longer.stderr
    lines = (folder / 'stats.jsonl').read_text().splitlines()
    finished = run('--resume', str(folder), cwd=tmp_path)
    assert finished.returncode == 0 and 'until 0.048' in finished.stdout and (folder / 'stats.jsonl').read_text().splitlines() == lines


def test_a_run_of_many_gpus_is_not_taken_up_on_few_unasked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(train.torch.cuda, 'device_count', lambda: 0)
    checkpoint.save_state(tmp_path, 'training-state-000000008', {}, {'nimg': 8, 'world_size': 8, 'threads': None, 'device': 'cuda'})
    with pytest.raises(UsageError, match='trained on 8 GPUs, and this machine has 0.*--gpus N'):
        train._as_before(tmp_path, {'gpus': None, 'threads': None, 'device': None})
    assert train._as_before(tmp_path, {'gpus': 1, 'threads': None, 'device': None}) == {'device': 'cuda'}


def test_ctrl_c_saves_and_resume_ends_where_an_uninterrupted_run_ends(tmp_path: Path) -> None:
    length = ('--kimg', '0.4')
    whole = run('--cfg', 'demo', *TINY, *length, '--outdir', 'whole', cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr

    process = subprocess.Popen(command('--cfg', 'demo', *TINY, *length), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob('runs/*/stats.jsonl')) or not next(tmp_path.glob('runs/*/stats.jsonl')).read_text():
        assert time.monotonic() < deadline and process.poll() is None, 'the run never reached its first tick'
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    folder = only_run(tmp_path)
    if process.returncode == 0:
        pytest.fail('the run ended before Ctrl-C reached it; make it longer')
    assert process.returncode == 130, errors
    assert f'--resume runs/{folder.name}' in errors and 'Traceback' not in errors

    resumed = run('--resume', f'runs/{folder.name}', cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    (ours,), (theirs,) = ((tmp_path / where).glob('*/network-snapshot-000000.safetensors') for where in ('runs', 'whole'))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_step_leaves_nothing(tmp_path: Path, monkeypatch, end: signal.Signals) -> None:
    monkeypatch.setattr(Trainer, 'run', lambda *_: os.kill(os.getpid(), end))
    monkeypatch.setattr(train, 'StopRequest', contextlib.nullcontext)  # as if it came just before
    before = signal.getsignal(signal.SIGTERM)
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    try:
        with pytest.raises(SystemExit) as ended:
            monkeypatch.setattr(sys, 'argv', ['train.py', '--cfg', 'demo', *TINY, '--gpus', '1', '--outdir', str(tmp_path / 'runs')])
            run_command(train.main)
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupted)
    assert ended.value.code == 128 + end and list((tmp_path / 'runs').iterdir()) == []


MISTAKES = {
    'no preset': ([], 64, 'Which preset'),
    'unknown preset': (['--cfg', 'demp'], 64, "Did you mean 'demo'"),
    'unknown setting': (['--cfg', 'demo', '--set', 'gan.r1_gama=5'], 64, "Did you mean 'gan.r1_gamma'"),
    'ill-typed setting': (['--cfg', 'demo', '--set', 'gan.r1_gamma=high'], 64, 'gan.r1_gamma'),
    'negative weight': (['--cfg', 'demo', '--gamma', '-1'], 64, 'negative'),
    'strength of nothing': (['--cfg', 'demo', '--p', '0.3'], 64, '--aug'),
    'no data': (['--cfg', 'photos'], 64, '--data'),
    'data not there': (['--cfg', 'photos', '--data', 'nowhere.zip'], 66, 'nowhere.zip'),
    'cameras wanted, none there': (['--cfg', 'ffhq', '--data', 'plain', '--metrics', 'none'], 65, 'cameras'),
    'empty folder': (['--cfg', 'photos', '--data', 'empty'], 65, 'empty'),
    'unknown synthetic class': (['--cfg', 'demo', '--data', 'synthetic:cat'], 64, "'cat'"),
    'batch cannot be cut': (['--cfg', 'demo', *TINY, '--batch-gpu', '3'], 64, '--batch-gpu 3'),
    'no length': (['--cfg', 'demo', *TINY, '--kimg', '0'], 64, 'kimg'),
    'a dry run of processes that cannot share': (['--cfg', 'demo', *TINY, '--gpus', '3', '--dry-run'], 64, 'shared by 3'),
    'cameras that see nothing': (['--cfg', 'demo', *TINY, '--set', 'generator.rendering.far=2.6'], 65, '100% of the cameras'),
    'small images for a large preset': (['--cfg', 'unposed', '--data', 'synthetic:car,mug', '--metrics', 'none'], 64, 'enlarges them'),
    'unknown metric': (['--cfg', 'demo', '--metrics', 'fid51k'], 64, 'fid51k'),
    'resume of nothing': (['--resume', 'empty'], 66, 'not a run folder'),
    'resume with other settings': (['--resume', 'empty', '--gamma', '3'], 64, '--gamma'),
    'no such device': (['--cfg', 'demo', *TINY, '--device', 'gpu'], 64, "'gpu'"),
    'impossible learning rate': (['--cfg', 'demo', *TINY, '--set', 'generator_optimiser.learning_rate=-1'], 64, 'learning_rate=-1'),
    'a text among the images': (['--cfg', 'photos', '--data', 'spoiled', '--metrics', 'none'], 65, '1.png'),
    'outdir is a file': (['--cfg', 'demo', *TINY, '--outdir', 'file'], 73, 'file'),
}


@pytest.mark.parametrize('arguments, code, words', MISTAKES.values(), ids=MISTAKES)
def test_mistakes_get_one_message(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    from PIL import Image

    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').write_text('not a folder')
    (tmp_path / 'plain').mkdir()
    Image.new('RGB', (32, 32)).save(tmp_path / 'plain' / '0.png')
    (tmp_path / 'spoiled').mkdir()
    Image.new('RGB', (32, 32)).save(tmp_path / 'spoiled' / '0.png')
    (tmp_path / 'spoiled' / '1.png').write_text('no image')
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert words in result.stderr and 'Traceback' not in result.stderr
    assert not (tmp_path / 'runs').exists() or not list((tmp_path / 'runs').iterdir()), 'a mistake left a run folder behind'


@pytest.mark.parametrize('mistake', ['data.path=nothing.zip', 'loop.batch=3', 'gan.views=0'])
def test_a_mistake_is_said_once_whatever_the_number_of_processes(tmp_path: Path, mistake: str) -> None:
    result = run('--cfg', 'demo', *TINY, '--kimg', '0.016', '--gpus', '2', '--device', 'cpu', '--set', mistake, cwd=tmp_path)
    assert result.returncode in (64, 66) and result.stderr.count('error: ') == 1 and 'Traceback' not in result.stderr


def test_two_processes_on_one_machine(tmp_path: Path) -> None:
    result = run('--cfg', 'demo', *TINY, '--kimg', '0.016', '--gpus', '2', '--device', 'cpu', cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (only_run(tmp_path) / 'network-snapshot-000000.safetensors').is_file()
    assert json.loads((only_run(tmp_path) / 'stats.jsonl').read_text().splitlines()[-1])['Loss/G/loss']['num'] == 16


def test_a_running_folder_cannot_be_resumed_twice(tmp_path: Path) -> None:
    first = subprocess.Popen(command('--cfg', 'demo', *TINY, '--kimg', '100'), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob('runs/*/training-state-*.json')):
            assert time.monotonic() < deadline and first.poll() is None
            time.sleep(0.05)
        result = run('--resume', str(only_run(tmp_path)), cwd=tmp_path)
        assert result.returncode == 73 and 'Traceback' not in result.stderr, result.stderr
        assert str(first.pid) in result.stderr, 'the message names the holder'
    finally:
        first.send_signal(signal.SIGTERM)
        first.wait(timeout=60)
    assert first.returncode == 143
