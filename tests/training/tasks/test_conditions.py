"""Further cameras for scenes whose class is known: those of the class in the data, each as likely as any other."""

import pytest
import torch

from torch_utils.rng import Stream
from training.cameras.convention import to_eg3d
from training.cameras.distributions import UniformBand, Wide
from training.cameras.orbit import orbit
from training.tasks.conditions import DrawnConditions, LabelledConditions

CPU = torch.device('cpu')
CLASSES = torch.tensor([2, 0, 2, 4, 0, 2, 2])  # classes 1 and 3 have no pictures; 4 has one
ROWS = 4000


def stream() -> Stream:
    return Stream(seed=1, step=2, phase='G', rows=tuple(range(ROWS)))


def labelled(mirror: bool) -> LabelledConditions:
    camera = orbit(torch.linspace(-1.4, 2.0, len(CLASSES)), torch.linspace(0.1, 0.8, len(CLASSES)), 2.7, focal=1.5)
    return LabelledConditions(CLASSES, to_eg3d(camera), mirror)


def which(conditions: LabelledConditions, origins: torch.Tensor) -> torch.Tensor:
    """The index of the labels' camera that stands at each origin [N, 3]; len(labels) more for one that stands at its mirror image."""
    known = conditions.labels.view(-1, 25)[:, [3, 7, 11]]
    known = torch.cat([known, known * torch.tensor([-1.0, 1.0, 1.0])])
    distance = (origins[:, None] - known).norm(dim=2)
    assert distance.min(dim=1).values.max() < 1e-5
    return distance.argmin(dim=1)


@pytest.mark.parametrize('mirror', [False, True])
def test_each_class_has_the_cameras_of_its_pictures(mirror: bool) -> None:
    conditions = labelled(mirror)
    classes = torch.tensor([0, 2, 4]).repeat(ROWS)[:ROWS]
    index = which(conditions, conditions.cameras(classes, stream(), CPU).checked().origins)
    flipped, index = index >= len(CLASSES), index % len(CLASSES)
    assert torch.equal(CLASSES[index], classes)
    for name in (0, 2, 4):
        members = (name == CLASSES).nonzero().flatten()
        share = torch.bincount(index[classes == name], minlength=len(CLASSES))[members] / (classes == name).sum()
        assert (share - 1 / len(members)).abs().max() < 0.06, 'the pictures of a class are equally likely'
    assert (abs(flipped.double().mean() - 0.5) < 0.03) if mirror else not flipped.any()


def test_without_classes_all_pictures_are_equally_likely() -> None:
    conditions = labelled(mirror=False)
    conditions = LabelledConditions(None, conditions.labels, mirror=False)
    index = which(conditions, conditions.cameras(None, stream(), CPU).origins)
    assert (torch.bincount(index, minlength=7) / ROWS - 1 / 7).abs().max() < 0.03


def test_a_sample_is_a_picture_of_the_data() -> None:
    conditions = labelled(mirror=False)
    asked = conditions.sample(stream(), CPU)
    assert torch.equal(asked.classes, CLASSES[which(conditions, asked.camera.origins)])


def test_the_draws_belong_to_the_rows() -> None:
    conditions, classes = labelled(mirror=True), torch.tensor([0, 2, 4, 2]).repeat(ROWS // 4)
    whole = conditions.cameras(classes, stream(), CPU).world_from_camera
    half = conditions.cameras(classes[ROWS // 2 :], stream().for_rows(ROWS // 2, ROWS), CPU).world_from_camera
    assert torch.equal(half, whole[ROWS // 2 :])


@pytest.mark.parametrize('law', [UniformBand(), Wide()])
def test_a_law_knows_no_classes(law: UniformBand | Wide) -> None:
    drawn = DrawnConditions(CLASSES, law)
    assert torch.equal(drawn.cameras(CLASSES, stream(), CPU).origins, law.sample(stream(), CPU).origins)
    assert torch.equal(drawn.sample(stream(), CPU).classes.unique(), CLASSES.unique())
