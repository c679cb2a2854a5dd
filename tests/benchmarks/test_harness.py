"""The harness: turns, ratios, memory, verdicts, curves, and the sections of a document."""

import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import click.testing
import pytest
import torch

from benchmarks import comparing, report
from benchmarks.__main__ import main
from benchmarks.cases import inference
from benchmarks.cases.case import KERNELS, KERNELS_BF16, NAIVE, NotMeasurable, Target, recorded
from benchmarks.cases.rendering import RendererCase
from benchmarks.cases.steps import kinds_of_iteration, period_of
from benchmarks.children import in_child
from benchmarks.comparing import Measured, Options
from benchmarks.curves import fit
from benchmarks.memory import peak_above, peak_in_child
from benchmarks.timing import Part, Timings, by_turns, speed_up, warm_up
from training.networks.generator3d import Generator3D
from training.tasks.gan_config import GanConfig

CPU = torch.device('cpu')


def test_contestants_take_turns_and_parts_have_weights() -> None:
    order: list[str] = []
    parts = {
        'a': [Part('often', lambda: order.append('a') or time.sleep(0.02)), Part('seldom', lambda: time.sleep(0.04), weight=0.25)],
        'b': [Part('all', lambda: order.append('b') or time.sleep(0.01))],
    }
    found = by_turns(parts, {'a': [1, 1], 'b': [3]}, 2, CPU)
    assert order == ['a', 'b', 'b', 'b', 'b', 'b', 'b', 'a'], 'each round begins with another contestant'
    assert all(0.03 <= t < 0.06 for t in found['a'].wall) and all(0.01 <= t < 0.02 for t in found['b'].wall)
    assert max(found['a'].cpu) < 0.01, 'sleeping is no processor time'
    assert found['a'].seconds(CPU) == found['a'].cpu and found['a'].seconds(torch.device('cuda')) == found['a'].wall


def test_short_work_is_repeated() -> None:
    assert warm_up([Part('long', partial(time.sleep, 0.06)), Part('short', partial(time.sleep, 0.005))], CPU)[0] == 1
    assert 5 <= warm_up([Part('short', partial(time.sleep, 0.005))], CPU)[0] <= 10


def test_ratios_are_taken_round_by_round() -> None:
    assert speed_up((2.0, 20.0, 4.0), (1.0, 10.0, 1.0)) == (2.0, 2.0, 4.0)


def test_peak_memory() -> None:
    """Of what lived at the same time: two blocks one after the other are one block."""
    block = 2**26

    def ones() -> torch.Tensor:
        return torch.ones(block // 4)

    def one_after_the_other() -> None:
        for _ in range(2):
            ones().amax()

    def together() -> None:
        first = ones()
        (first + ones()).amax()

    together()
    assert block * 0.9 < peak_above(one_after_the_other, CPU) < block * 1.5
    assert block * 2.5 < peak_above(together, CPU) < block * 3.5


def test_peak_memory_of_a_case_in_a_child() -> None:
    """The naive renderer keeps at least the hidden layer of every sample; the child sees the case that it was sent."""
    case = RendererCase(24, coarse=24, fine=24, plane_side=16, backward=True)
    assert 24**2 * 48 * 64 * 4 < peak_in_child(case, NAIVE, CPU, 1) < 40 * 24**2 * 48 * 64 * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
def test_a_recording_replays_what_was_run() -> None:
    x, device = torch.zeros(4, device='cuda'), torch.device('cuda')
    replay = recorded(lambda: x.add_(1), device)
    before = x.clone()
    replay()
    replay()
    assert torch.equal(x, before + 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
def test_what_cannot_be_recorded_is_said() -> None:
    x = torch.zeros(4, device='cuda')
    with pytest.raises(NotMeasurable, match='recorded'):
        recorded(lambda: x.sum().item(), torch.device('cuda'))


def measured(**memory: int) -> Measured:
    timings = {NAIVE: Timings((8.0, 9.0), (8.0, 9.0)), KERNELS: Timings((1.0, 1.0), (1.0, 1.0))}
    return Measured(RendererCase(8), CPU, timings, memory, {KERNELS_BF16: 'no such processor'})


@pytest.mark.parametrize(
    ('target', 'verdict'),
    [
        (Target(8), 'met (8.5x)'),
        (Target(9), 'missed (8.5x)'),
        (Target(10, 'ms'), 'missed (1e+03 ms)'),
        (Target(3, 'MiB'), 'met (2 MiB)'),
        (Target(1, 'MiB'), 'missed (2 MiB)'),
        (Target(1, 'MiB', contestant=NAIVE), 'not measurable here: memory was not asked for'),
        (Target(1, contestant=KERNELS_BF16), 'not measurable here: no such processor'),
        (Target(1, device='cuda'), 'not measurable here: this is a run on cpu'),
    ],
)
def test_verdicts(target: Target, verdict: str) -> None:
    assert measured(**{KERNELS: 2 * 2**20}).verdict(target) == verdict


@pytest.mark.parametrize(('bound', 'verdict'), [(9, 'met (8.50 times)'), (8, 'missed (8.50 times)')])
def test_a_bound_on_cost(bound: float, verdict: str) -> None:
    assert measured().verdict(Target(bound, 'times', NAIVE, KERNELS)) == verdict


def test_lazy_terms_have_their_shares_of_a_whole_period() -> None:
    """R1 every 4, density every 6, mirror every 2: of twelve iterations one has all three."""
    config = GanConfig(r1_every=4, density_every=6, mirror_weight=1.0, mirror_every=2)
    kinds = kinds_of_iteration(config)
    assert period_of(config) == 12 and period_of(replace(config, mirror_every=5)) == 60 and period_of(replace(config, r1_gamma=0)) == 6
    assert sum(share for _, share in kinds.values()) == pytest.approx(1)
    for name, every in (('R1', 4), ('density', 6), ('mirror', 2)):
        assert sum(share for kind, (_, share) in kinds.items() if name in kind) == pytest.approx(1 / every)
        assert all((step % every == 0) == (name in kind) for kind, (step, _) in kinds.items())
    assert kinds_of_iteration(GanConfig(r1_gamma=0, density_weight=0)) == {'main': (0, 1.0)}


def test_a_line_is_found_and_a_parabola_is_none() -> None:
    sizes = [1, 2, 4, 8]
    line = fit(sizes, [0.5 + 0.25 * n for n in sizes])
    assert (line.start, line.slope) == pytest.approx((0.5, 0.25)) and line.deviation < 1e-9 and line.is_linear
    assert fit(sizes, [1.1 * n if n == 4 else 1.0 * n for n in sizes]).is_linear
    assert not fit(sizes, [n**2 for n in sizes]).is_linear


def test_sections_replace_themselves_and_nothing_else() -> None:
    document = '# Title\n\nby hand\n'
    once = report.insert(report.insert(document, 'renderer', 'one'), 'step', 'two')
    again = report.insert(once, 'renderer', 'three')
    assert once.startswith(document) and again == once.replace('one', 'three')
    assert report.insert('', 'ops', 'x') == '<!-- benchmarks ops: begin -->\nx\n<!-- benchmarks ops: end -->\n'


@pytest.mark.parametrize('section', list(report.TITLES))
def test_quick(section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself, at sizes that take no time; the table holds who took part and says what is missing."""
    monkeypatch.setattr('benchmarks.__main__.prepare', lambda *_, **__: None)  # it changes the process for good
    path = tmp_path / 'benchmarks.md'
    arguments = [section, '--quick', '--no-memory', '--device', 'cpu', '--out', str(path)]
    result = click.testing.CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = path.read_text()
    assert text.startswith(f'<!-- benchmarks {section}: begin -->') and report.TITLES[section] in text
    if section == 'ways':
        assert 'PoF3D, cameras found <= 1.6 times the step of EG3D, cameras known: ' in text and '| two views |' in text
        return
    if section == 'beginning':
        assert '| `bias_act` | ' in text and 'Target (cpu): first step of `demo` <= 10 s: ' in text
        return
    assert '| naive |' in text and 'reference' in text
    if section not in ('ops', 'curves'):
        assert 'Target (cpu): kernels >= 2x as fast as naive' in text and ('met (' in text or 'missed (' in text or 'not measurable here' in text)


@pytest.mark.parametrize('device, of_target, asked', [('cuda', 'cpu', True), ('cuda', 'cuda', True), ('cpu', 'cpu', True), ('cpu', 'cuda', False)])
def test_only_a_processor_leaves_the_cases_of_a_gpu_out(device: str, of_target: str, asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    invited = []
    monkeypatch.setattr(comparing, '_invited', lambda case, options: invited.append(case) or [])
    monkeypatch.setattr(comparing, 'by_turns', lambda *_: {})
    case = RendererCase(8, targets=(Target(2, device=of_target),))
    comparing.compare(case, Options(torch.device(device), 1, 1), print)
    assert bool(invited) == asked


@pytest.mark.parametrize('contestant, precision', [(KERNELS, 'fp32'), (KERNELS_BF16, 'bf16')])
def test_bfloat16_reaches_super_resolution(contestant: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(inference, 'Generator3D', lambda config: built.append(config) or Generator3D(config))
    inference.InferenceCase('ffhq', 8).small().build(contestant, CPU)
    assert built[0].superres.precision == precision


def test_a_crash_in_a_child_is_a_reason() -> None:
    with pytest.raises(NotMeasurable, match='crashed'):
        in_child(os.abort)
