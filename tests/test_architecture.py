"""The house keeps its shape: who may import whom, and which habits are not taken up."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob('*/__init__.py') if path.parent.name != 'tests')

# What each place may import of ours. The most specific entry decides.
MAY_IMPORT = {
    'dnnlib': {'dnnlib'},
    'torch_utils': {'torch_utils', 'dnnlib'},
    'custom_ops': {'custom_ops'},
    'training.cameras': {'training.cameras', 'torch_utils', 'custom_ops', 'dnnlib'},
    'training.rendering': {'training.rendering', 'training.cameras', 'torch_utils', 'custom_ops', 'dnnlib'},
    'training.data': {'training.data', 'training.cameras', 'torch_utils', 'dnnlib'},
    'training.augment': {'training.augment', 'training.cameras', 'torch_utils', 'custom_ops', 'dnnlib'},
    'training.pictures': {'training.pictures', 'training.cameras', 'dnnlib', 'torch_utils'},
    'training.networks': {
        'training.networks', 'training.rendering', 'training.cameras', 'training.augment', 'torch_utils', 'custom_ops', 'dnnlib',
    },
    'training.losses': {'training.losses', 'training.cameras', 'training.rendering', 'torch_utils', 'custom_ops', 'dnnlib'},
    'training.meshes': {'training.meshes', 'training.rendering', 'torch_utils', 'custom_ops', 'dnnlib'},
    'training.task': {'training.task', 'training.data', 'torch_utils'},
    'training.schedules': set(),
    'training.loop': {'training.task', 'training.schedules', 'training.data', 'torch_utils', 'dnnlib'},
    'training': {'training', 'torch_utils', 'custom_ops', 'dnnlib', 'metrics'},
    # Metrics know images, cameras and the geometry of pixels, never a network.
    'metrics': {'metrics', 'training.data', 'training.cameras', 'training.rendering.reproject', 'torch_utils', 'dnnlib'},
    'importers': {'importers', 'training', 'torch_utils', 'dnnlib'},
    'experiments': {'experiments', 'training', 'metrics', 'torch_utils', 'dnnlib'},
    'benchmarks': {'benchmarks', 'training', 'metrics', 'torch_utils', 'custom_ops', 'dnnlib'},
}


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob('*.py'))


def dotted(path: Path) -> str:
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    return name.removesuffix('.__init__')


def imports_of_ours(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}:{node.lineno} imports relatively; the arrows are easier to see with full names'
            found |= {f'{node.module}.{alias.name}' for alias in node.names}
    return {name for name in found if name.split('.')[0] in PACKAGES}


def within(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(place + '.') for place in places)


@pytest.mark.parametrize('path', modules(), ids=dotted)
def test_arrows(path: Path) -> None:
    name = dotted(path)
    place = max((place for place in MAY_IMPORT if within(name, {place})), key=len, default=None)
    assert place is not None, f'{name} lives in a new package; say in MAY_IMPORT what it may know'
    trespassing = {target for target in imports_of_ours(path) if not within(target, MAY_IMPORT[place])}
    assert not trespassing, f'{name} belongs to {place}, which may not import {sorted(trespassing)}'


def test_dnnlib_does_without_torch() -> None:
    for path in (ROOT / 'dnnlib').rglob('*.py'):
        assert not re.search(r'^\s*(import|from) torch\b', path.read_text(), re.MULTILINE), path


FORBIDDEN_NAMES = re.compile(r'(^|_)(utils?|misc|helpers?|managers?|v2|stuff)(_|$)')
FORBIDDEN_CALLS = {
    r'\bexcept\s*:': 'a bare except hides what went wrong',
    r'\bnan_to_num\b': 'a number that is not finite must stop the run, not be painted over',
    r'\bpickle\.load|\bUnpickler\b': 'unpickling executes code',
    r'weights_only\s*=\s*False': 'unpickling executes code',
    r'(?<![\w.])(eval|exec)\(': 'text is not code',
    r'\btorch\.(manual_seed|seed)\(|\bnp\.random\.(rand|randn|seed|randint)\(': 'randomness is addressed, see torch_utils/rng.py',
    r'\b(TODO|FIXME|XXX)\b': 'finish it or write the doubt down',
}


@pytest.mark.parametrize('path', modules() + sorted(ROOT.glob('*.py')) + sorted(ROOT.glob('docs/*.py')), ids=dotted)
def test_habits(path: Path) -> None:
    assert not FORBIDDEN_NAMES.search(path.stem), f'{path.name} is a drawer; name it after its one idea'
    text = path.read_text()
    for pattern, why in FORBIDDEN_CALLS.items():
        match = re.search(pattern, text)
        assert not match, f'{path}: `{match.group(0)}`: {why}'
    assert ast.get_docstring(ast.parse(text)), f'{path} does not say what it is for'
