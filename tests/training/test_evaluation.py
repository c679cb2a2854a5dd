"""Generators as subjects of metrics: the same scenes whoever asks, and a camera that moves nothing but the view."""

import copy
from dataclasses import replace

import pytest
import torch

from metrics.subject import Subject
from tests.training.tiny import config_of, full_config, tiny_config
from torch_utils.rng import Stream
from training.build import Built, build
from training.cameras.camera import Camera
from training.cameras.orbit import orbit
from training.evaluation import generator_subject, law_outputs
from training.sampling import Truncation, own_cameras, sample


def built(*settings: str) -> Built:
    return build(tiny_config(*settings))


def subject_of(made: Built, **options: bool) -> Subject:
    return generator_subject('g', made.task.generator.eval(), made.conditions, 'cpu', Truncation(), **options)


def around(yaw_rad: float, count: int, like: Camera) -> Camera:
    return orbit(torch.full((count,), yaw_rad), 0.2, 2.7, focal=like.intrinsics[0, 0, 0])


def test_scenes_are_those_of_the_law_whoever_asks() -> None:
    made = built()
    subject = subject_of(made)
    views = subject.sample(3, 5)
    outputs, camera = law_outputs(made.task.generator, made.conditions, 'cpu', Truncation())(3, 5)
    assert torch.equal(views.image, outputs.image) and torch.equal(views.opacity, outputs.opacity)
    assert torch.equal(views.camera.world_from_camera, camera.world_from_camera) and views.classes is None
    assert torch.allclose(subject.sample(5, 1).image[0], views.image[2], atol=1e-6)
    assert torch.equal(subject.render(3, 5, views.camera).image, views.image)
    assert torch.equal(generator_subject('g', made.task.generator, made.conditions, 'cpu', Truncation(), seed=1).sample(3, 5).image, views.image) is False


def test_depth_is_the_median_and_the_generator_stays_as_it_is() -> None:
    made = built()
    before, expected = copy.deepcopy(made.task.generator.state_dict()), made.task.generator.config
    views = subject_of(made).sample(0, 4)
    assert made.task.generator.config is expected and expected.rendering.depth_rule == 'expected'
    assert all(torch.equal(before[name], tensor) for name, tensor in made.task.generator.state_dict().items())
    floating, _ = law_outputs(made.task.generator, made.conditions, 'cpu', Truncation())(0, 4)
    assert not torch.equal(views.depth, floating.depth)
    made.task.generator.config = replace(expected, rendering=replace(expected.rendering, depth_rule='median'))
    exact, _ = law_outputs(made.task.generator, made.conditions, 'cpu', Truncation())(0, 4)
    assert torch.equal(views.depth, exact.depth)


def test_a_flat_picture_has_no_depth_and_does_not_turn() -> None:
    made = built('generator.picture=flat', 'generator.conditions_on_camera=true')
    views = subject_of(made).sample(0, 3)
    assert views.depth is None and views.opacity is None
    turned = around(1.0, 3, views.camera)
    assert torch.equal(subject_of(made).render(0, 3, turned).image, views.image), 'the camera that it is told stays that of its own law'
    follows = subject_of(made, condition_follows=True)
    assert torch.equal(follows.sample(0, 3).image, views.image)
    assert not torch.equal(follows.render(0, 3, turned).image, views.image), 'told another camera, it draws another picture'


@pytest.mark.parametrize('follows', [False, True])
def test_views_of_a_conditioned_generator(follows: bool) -> None:
    made = build(full_config())
    subject = subject_of(made, condition_follows=follows)
    own = subject.sample(0, 2)
    assert own.classes.dtype == torch.int64 and own.depth.shape[-1] == 8 and own.image.shape[-1] == 16
    turned = around(0.7, 2, own.camera)
    seen = subject.render(0, 2, turned)
    assert torch.equal(seen.classes, own.classes) and torch.equal(seen.camera.world_from_camera, turned.world_from_camera)
    generator = made.task.generator
    z = Stream(0, 0, 'evaluation', (0, 1)).normal('z', generator.config.z_dim)
    told, other = (turned, own.camera) if follows else (own.camera, turned)
    same, different = (sample(generator, z, own.classes, turned, condition=condition).image for condition in (told, other))
    assert torch.allclose(seen.image, same, atol=1e-5) and not torch.allclose(seen.image, different, atol=1e-3)


def test_a_generator_that_invents_cameras_is_judged_from_them() -> None:
    made = build(config_of('poses learned'))
    generator = made.task.generator.eval()
    output, camera = law_outputs(generator, made.conditions, 'cpu', Truncation())(2, 5)
    z = Stream(0, 0, 'evaluation', (2, 3, 4, 5, 6)).normal('z', generator.z_dim)
    wanted = made.conditions.sample(Stream(0, 0, 'evaluation', (2, 3, 4, 5, 6)), torch.device('cpu'))
    own = own_cameras(generator, z, None, wanted.camera)
    assert torch.allclose(camera.origins, own.origins, atol=1e-5) and not torch.allclose(camera.origins, wanted.camera.origins, atol=0.1)
    assert torch.allclose(output.image, sample(generator, z, None, own).image, atol=1e-5)
    views = subject_of(made).sample(2, 5)
    assert torch.equal(views.image, output.image) and torch.equal(views.camera.origins, camera.origins)
    turned = around(1.0, 5, camera)
    assert torch.equal(subject_of(made).render(2, 5, turned).camera.origins, turned.origins)


def test_truncation_moves_no_camera() -> None:
    made = build(config_of('poses learned'))
    generator = made.task.generator.eval()
    whole, mean = (law_outputs(generator, made.conditions, 'cpu', Truncation(psi))(0, 8) for psi in (1.0, 0.0))
    assert torch.equal(whole[1].world_from_camera, mean[1].world_from_camera)
    assert not torch.allclose(whole[0].image, mean[0].image, atol=1e-3)
