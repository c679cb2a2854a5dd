"""E0 in its quick form: the suite sees every control and raises no alarm at real scenes; and a suite that is broken does not pass."""

import pytest
import torch

from metrics.audit.audit import QUICK, judge, run_audit
from metrics.audit.gates import GATES, SEEN_BY, Gate, Spread, flagged, outside
from metrics.audit.law_controls import law_controls, real_split
from metrics.audit.shape_controls import shape_controls
from metrics.suite import STATISTICS
from training.cameras.camera import Camera
from training.data.toyworld.world import Toyworld, ToyworldConfig


@pytest.fixture(scope='module')
def values():
    return run_audit(QUICK)


def test_every_control_is_seen_and_no_real_split_is(values):
    audit = judge(values)
    assert not audit.missed and not audit.false_alarms, (audit.missed, audit.false_alarms)


def test_reprojection_alone_does_not_pass(values):
    """It is the metric that rewards flat scenes: as the only gate, at any threshold that spares real scenes, it is blind to them."""
    lowest = max(found['reprojection'] for name, found in values.items() if name not in SEEN_BY)
    audit = judge(values, {'reprojection': Gate(high=lowest)}, {name: ('reprojection',) for name in SEEN_BY if name.startswith('depth times')})
    assert {control for control, _ in audit.missed} >= {'depth times 0.25', 'depth times 0.04'}


@pytest.mark.parametrize('said', ['what real scenes say', 'nothing'])
def test_a_statistic_that_is_blind_is_found_out(values, said):
    mean = judge(values).real['slope'].mean
    blind = {subject: {**found, 'slope': 'not measurable here' if said == 'nothing' and subject in SEEN_BY else mean} for subject, found in values.items()}
    assert {(control, 'slope') for control, names in SEEN_BY.items() if 'slope' in names} == set(judge(blind).missed)


def test_a_statistic_that_cries_wolf_is_found_out(values):
    wild = {subject: {**found, 'slope': 0.1} for subject, found in values.items()}
    assert [name for _, name in judge(wild).false_alarms] == ['slope'] * QUICK.splits


def test_gates():
    real = Spread(1.0, 0.1)
    assert not outside(Gate(0.5, 1.5), 1.5, real) and outside(Gate(0.5, 1.5), 1.51, real) and outside(Gate(0.5, 1.5), float('nan'), real)
    assert outside(Gate(high=1.2, times_real=True), 2.5, Spread(2.0, 0.1)) and not outside(Gate(high=1.3, times_real=True), 2.5, Spread(2.0, 0.1))
    assert flagged(Gate(low=0.9), 0.69, real) and not flagged(Gate(low=0.9), 0.71, real), 'within three spreads of real scenes'
    assert flagged(Gate(low=0.9), float('nan'), real)


def test_every_control_has_a_gate_and_every_gate_a_control():
    world = Toyworld(ToyworldConfig(seed=1))
    assert [subject.name for subject in (*law_controls(world), *shape_controls(world))] == list(SEEN_BY)
    named = {name for names in SEEN_BY.values() for name in names}
    assert named == set(GATES) and named <= set(STATISTICS)


def test_controls_show_the_same_scene_whoever_asks():
    world = Toyworld(ToyworldConfig(seed=1))
    for subject in (real_split(world, 0), *law_controls(world), *shape_controls(world)):
        together, alone = subject.sample(0, 3), subject.sample(2, 1)
        assert torch.equal(together.image[2:].nan_to_num(9), alone.image.nan_to_num(9)), subject.name


def test_shape_controls_are_right_where_their_own_law_looks():
    world = Toyworld(ToyworldConfig(seed=1))
    real = real_split(world, 0).sample(0, 2)
    for subject in shape_controls(world):
        if not subject.name.startswith('depth times'):  # pressing an object together moves its edges in perspective
            assert (subject.sample(0, 2).image - real.image).abs().mean() < 0.05, subject.name


def test_pressed_scenes_keep_their_picture_and_lose_their_depth():
    world = Toyworld(ToyworldConfig(seed=1))
    real = real_split(world, 0).sample(0, 4)
    pressed = next(subject for subject in shape_controls(world) if subject.name == 'depth times 0.25').sample(0, 4)
    inside = (real.opacity == 1) & (pressed.opacity == 1)
    spreads = [views.depth[inside].std() for views in (real, pressed)]
    assert 0.15 < spreads[1] / spreads[0] < 0.5 and (pressed.image - real.image).abs().mean() < 0.25


def test_inside_out_turns_the_wrong_way_round():
    world = Toyworld(ToyworldConfig(seed=1))
    hollow = next(subject for subject in shape_controls(world) if subject.name == 'inside out')
    own = hollow.sample(0, 1)
    turn = torch.tensor([[0.8, 0.0, 0.6, 0.0], [0.0, 1.0, 0.0, 0.0], [-0.6, 0.0, 0.8, 0.0], [0.0, 0.0, 0.0, 1.0]])
    there = hollow.render(0, 1, Camera(turn @ own.camera.world_from_camera, own.camera.intrinsics))
    back = real_split(world, 0).render(0, 1, Camera(turn.mT @ own.camera.world_from_camera, own.camera.intrinsics))
    assert (there.image - back.image).abs().mean() < 0.02
