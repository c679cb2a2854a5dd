"""Networks that find cameras: bounded whatever they are fed, looking around at the start; what a discriminator's answers may teach whom."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnnlib.errors import DataError, UsageError
from torch_utils.rng import Stream
from training.cameras.convention import from_eg3d_angles
from training.cameras.orbit import angles_of
from training.cameras.rig import Rig, as_read
from training.networks.discriminator import Discriminator, DiscriminatorConfig
from training.networks.mapping import Mapping, MappingConfig
from training.networks.pose import GreyReader, PoseLearner, PoseLearnerConfig, PoseReaderConfig, TrunkReader, grey, published_camera

RIG = Rig(radius=2.0, fov_x_deg=50.0, target=(0.1, -0.2, 0.3), pitch_min_deg=-20.0, pitch_max_deg=60.0)
W_DIM = 32
SEEDS = range(20)
ROWS = Stream(seed=1, step=0, phase='grey', rows=range(2000))


def learner(seed: int = 0, **changes) -> PoseLearner:
    torch.manual_seed(seed)
    return PoseLearner(W_DIM, PoseLearnerConfig(rig=RIG, **changes)).requires_grad_(False)


def latents(seed: int, count: int) -> Tensor:
    """w as a fresh mapping network gives it."""
    torch.manual_seed(seed)
    mapping = Mapping(z_dim=W_DIM, num_classes=0, conditions_on_camera=False, out_features=W_DIM, config=MappingConfig())
    return mapping(torch.randn(count, W_DIM)).detach()


# The generator's learner.


@pytest.mark.parametrize('seed', SEEDS)
def test_no_latent_makes_a_camera_leave_its_limits(seed: int) -> None:
    net = learner(seed, radius_range=0.5, target_range=0.2)
    w = torch.randn(64, W_DIM) * torch.logspace(-6, 12, 64)[:, None]
    w[0] = 0
    code = net(w)
    assert code.shape == (64, 7) and code.isfinite().all()
    camera = net.camera(code).checked()
    targets = torch.tensor(RIG.target) + 0.2 * code[:, 4:]
    _, pitch, radius = angles_of(camera, targets)
    assert (torch.rad2deg(pitch) - 20).abs().max() <= 40 + 1e-3
    assert (radius - RIG.radius).abs().max() <= 0.5 + 1e-5 and (targets - torch.tensor(RIG.target)).abs().max() <= 0.2 + 1e-5
    assert radius.max() > 2.4 and radius.min() < 1.6, 'the range is used'
    torch.testing.assert_close(camera.forwards, (targets - camera.origins) / radius[:, None])


def test_what_is_not_learned_is_that_of_the_rig() -> None:
    net, w = learner(), latents(0, 50)
    assert net(w).shape == (50, 3)
    torch.testing.assert_close(angles_of(net.camera(net(w)), RIG.target)[2], torch.full((50,), RIG.radius))
    targets = learner(target_range=0.2)
    code = targets(w)
    assert code.shape == (50, 6)
    looked_at = torch.tensor(RIG.target) + 0.2 * code[:, 3:]
    torch.testing.assert_close(angles_of(targets.camera(code), looked_at)[2], torch.full((50,), RIG.radius))
    distances = learner(radius_range=0.5)
    code = distances(w)
    assert code.shape == (50, 4)
    torch.testing.assert_close(angles_of(distances.camera(code), RIG.target)[2], RIG.radius + 0.5 * code[:, 3])


def test_a_fresh_learner_looks_from_all_around() -> None:
    """Over seeds every direction is looked from; a single seed prefers some, but never sees one side alone."""
    share = []
    for seed in SEEDS:
        yaw, _ = RIG.angles(learner(seed)(latents(seed, 500)))
        share.append(torch.histc(yaw, 8, -math.pi, math.pi) / 500)
    shares = torch.stack(share)
    assert ((shares > 0).sum(dim=1) >= 4).all() and ((shares > 0).sum(dim=1) >= 7).float().mean() > 0.5
    assert shares.mean(dim=0).min() > 0.05, 'an eighth of the circle for an eighth of the poses'


def test_a_wider_spread_uses_more_of_the_pitches() -> None:
    """Yaw is a direction, which no factor changes."""
    w = latents(0, 500)
    narrow, wide = (learner(spread=spread)(w) for spread in (0.5, 4.0))
    torch.testing.assert_close(narrow[:, :2], wide[:, :2], rtol=0, atol=1e-3)
    assert wide[:, 2].std() > 2 * narrow[:, 2].std()


def test_gradients_reach_the_learner_from_its_cameras() -> None:
    net = learner().requires_grad_()
    net.camera(net(latents(0, 8))).origins.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert net.hidden.weight.grad.abs().max() > 0 and net.out.weight.grad.abs().max() > 0


# The published law.


def test_published_angles_are_free_and_around_their_means() -> None:
    net = learner(law='PoF3D_2023', yaw_mean_rad=math.pi)
    assert net.out.weight.shape == (2, W_DIM)
    w = latents(0, 200)
    w[0] = 0
    angles = net(w)
    assert angles.shape == (200, 2)
    torch.testing.assert_close(angles[0], torch.tensor([math.pi, math.pi / 2]), msg='without a latent, the means')
    torch.testing.assert_close(angles - angles[0], net.out(net.hidden(w)), rtol=0, atol=1e-5)
    clipped = learner(law='PoF3D_2023', yaw_mean_rad=math.pi, yaw_clip_rad=(2.0, 4.0), pitch_clip_rad=(1.0, 2.0))(w)
    torch.testing.assert_close(clipped, torch.stack([angles[:, 0].clamp(2.0, 4.0), angles[:, 1].clamp(1.0, 2.0)], dim=1))
    assert not torch.allclose(clipped, angles)


def test_published_cameras_inside_their_domain_are_those_of_the_convention() -> None:
    angles = torch.tensor([[math.pi / 2, math.pi / 2], [0.3, 1.0], [-4.0, 3.0], [9.0, 1e-3]])
    camera = learner(law='PoF3D_2023').camera(angles)
    focal = 0.5 / math.tan(math.radians(25))
    theirs = from_eg3d_angles(angles[:, 0], angles[:, 1], RIG.radius, RIG.target, focal=focal, clamp_v=False)
    assert torch.equal(camera.world_from_camera, theirs.world_from_camera)
    torch.testing.assert_close(camera.origins[0], torch.tensor([0.0, 0.0, RIG.radius]), rtol=0, atol=1e-5)
    torch.testing.assert_close(camera.intrinsics[:, 0, 0], torch.full((4,), focal))


@pytest.mark.parametrize('pitch', [-100.0, -1e-3, 0.0, math.pi, math.pi + 1e-3, 100.0, -math.inf])
def test_a_published_pitch_outside_its_domain_is_a_camera_near_the_pole(pitch: float) -> None:
    """The published code has a NaN camera there."""
    rig = replace(RIG, target=(0.0, 0.0, 0.0))
    angles = torch.tensor([[0.3, pitch]], requires_grad=True)
    camera = published_camera(angles, rig)
    _, elevation, radius = angles_of(camera)
    assert abs(elevation.item()) == pytest.approx(math.pi / 2, abs=0.004) and (elevation.item() > 0) == (pitch < 1)
    assert radius.item() == pytest.approx(RIG.radius, rel=1e-5)
    camera.world_from_camera.sum().backward()
    assert angles.grad.isfinite().all()


@pytest.mark.parametrize('angles', [[math.nan, 1.0], [1.0, math.nan], [math.inf, 1.0]])
def test_published_angles_that_are_no_numbers_cannot_become_a_camera(angles: list[float]) -> None:
    with pytest.raises(DataError, match='NaN'):
        published_camera(torch.tensor([[1.0, 1.0], angles]), RIG)


# The discriminator's readers.


def test_grey_is_the_mean_of_the_channels_where_nothing_is_drawn() -> None:
    image = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(grey(image, None)[:, 0], image.mean(dim=1))
    reader = GreyReader(8, PoseReaderConfig(sees='grey', channels=(4, 6, 8)))
    read = reader(image)
    assert read.shape == (3, 3)
    for order in ((1, 2, 0), (2, 1, 0)):
        torch.testing.assert_close(reader(image[:, order]), read)


def test_grey_prefers_no_channel_and_no_sign() -> None:
    """Red, green and blue pictures are equally bright on average, and equally often negatives of themselves."""
    pure = torch.eye(3)[:, None, :, None, None].expand(-1, 2000, -1, 1, 1)
    bright = torch.stack([grey(image, ROWS).flatten() for image in pure])
    mean = bright.abs().mean(dim=1)
    torch.testing.assert_close(mean, torch.full((3,), 1 / 3), rtol=0.1, atol=0)
    assert abs((bright[0] > 0).float().mean().item() - 0.5) < 0.05
    assert torch.equal(bright.sign(), bright[:1].sign().expand(3, -1)), 'one sign for the whole picture'
    contrast = bright.sum(dim=0).abs()  # of a white picture: the weights add up to one
    assert contrast.min() > 0.7 - 1e-5 and contrast.max() < 1.3 + 1e-5 and contrast.std() > 0.1
    assert bright.abs().std(dim=1).min() > 0.1, 'the weights are drawn'


def test_every_row_draws_its_own_mixture_at_its_address() -> None:
    image = torch.randn(1, 3, 4, 4).expand(8, -1, -1, -1)
    whole = grey(image, Stream(1, 0, 'grey', range(8)))
    parts = torch.cat([grey(image[:4], Stream(1, 0, 'grey', range(4))), grey(image[4:], Stream(1, 0, 'grey', range(4, 8)))])
    assert torch.equal(whole, parts) and not torch.allclose(whole[0], whole[1])


@pytest.fixture(params=['trunk', 'grey'])
def sees(request: pytest.FixtureRequest) -> str:
    return request.param


def discriminator(sees: str = 'trunk', **changes) -> Discriminator:
    pose = PoseReaderConfig(sees=sees, channels=(4, 6), rig=RIG)
    values = {'image_resolution': 16, 'see': 'single', 'channel_base': 128, 'channel_max': 16, 'mapping': MappingConfig(layers=2)}
    return Discriminator(DiscriminatorConfig(**values | {'pose': pose} | changes))


def test_a_picture_is_judged_and_read_in_one_pass_of_the_trunk(sees: str) -> None:
    net = discriminator(sees, conditions_on_pose=True)
    calls = []
    net.trunk.register_forward_hook(lambda *_: calls.append('trunk'))
    image = torch.randn(4, 3, 16, 16)
    judged = net.judge(image)
    assert judged.logits.shape == (4,) and judged.pose.shape == (4, 3) and len(calls) == 1
    torch.testing.assert_close(net.read_pose(image), as_read(judged.pose))
    assert len(calls) == (2 if sees == 'trunk' else 1), 'the grey reader needs no trunk'
    torch.testing.assert_close(net(image), judged.logits)


def test_logits_teach_the_reader_nothing_through_the_condition(sees: str) -> None:
    net = discriminator(sees, conditions_on_pose=True)
    image = torch.randn(4, 3, 16, 16, requires_grad=True)
    judged = net.judge(image)
    readers = list(net.reader.parameters())
    assert all(g is None for g in torch.autograd.grad(judged.logits.sum(), readers, retain_graph=True, allow_unused=True))
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(judged.pose.square().sum(), readers, retain_graph=True))
    # Nor the picture: as if the pose had been told.
    (own,) = torch.autograd.grad(judged.logits.sum(), image)
    told = net.judge(image, pose=as_read(judged.pose).detach())
    torch.testing.assert_close(told.logits, judged.logits)
    torch.testing.assert_close(torch.autograd.grad(told.logits.sum(), image)[0], own)


def test_what_the_trunk_reader_learns_shapes_the_trunk_and_the_grey_one_leaves_it_alone(sees: str) -> None:
    net = discriminator(sees)
    read = net.judge(torch.randn(4, 3, 16, 16)).pose
    gradients = torch.autograd.grad(read.square().sum(), list(net.trunk.parameters()), allow_unused=True)
    assert all((g is not None) == (sees == 'trunk') for g in gradients)
    assert isinstance(net.reader, TrunkReader if sees == 'trunk' else GreyReader)


def test_a_score_is_under_a_pose(sees: str) -> None:
    net, image = discriminator(sees, conditions_on_pose=True), torch.randn(2, 3, 16, 16)
    front, back = (RIG.code(torch.full((2,), yaw), torch.zeros(2)) for yaw in (0.0, math.pi))
    assert not torch.allclose(net.judge(image, pose=front).logits, net.judge(image, pose=back).logits)
    torch.testing.assert_close(net.judge(image, pose=front).pose, net.judge(image, pose=back).pose)
    read_only = discriminator(sees)
    torch.testing.assert_close(read_only.judge(image, pose=front).logits, read_only.judge(image, pose=back).logits)


def test_a_told_pose_passes_no_gradient_either() -> None:
    net = discriminator(conditions_on_pose=True)
    code = RIG.code(torch.zeros(2), torch.zeros(2)).requires_grad_()
    assert torch.autograd.grad(net.judge(torch.randn(2, 3, 16, 16), pose=code).logits.sum(), code, allow_unused=True) == (None,)


def test_the_published_head_gives_two_numbers_and_judges_under_them_as_they_are() -> None:
    net = discriminator(conditions_on_pose=True, pose=PoseReaderConfig(law='PoF3D_2023'))
    image = torch.randn(4, 3, 16, 16)
    judged = net.judge(image)
    assert judged.pose.shape == (4, 2) and net.realness.mapping_network.embed_pose.weight.shape == (16, 2)
    assert net.reader.hidden.weight.shape == (8 * 16, 16 * 16)
    torch.testing.assert_close(net.read_pose(image), judged.pose)
    torch.testing.assert_close(net.judge(image, pose=judged.pose).logits, judged.logits)
    assert not torch.allclose(net.judge(image, pose=judged.pose + 2 * math.pi).logits, judged.logits), 'angles as numbers, seam included'


@pytest.mark.parametrize('views', [2, 3])
def test_views_that_are_judged_together_have_one_answer(views: int) -> None:
    net = discriminator(views_together=views, mbstd_group=0)
    image = torch.randn(2 * views, 3, 16, 16)
    judged = net.judge(image)
    assert judged.logits.shape == (2,) and judged.pose.shape == (2 * views, 3), 'each picture has its own pose'
    for row in range(2 * views):
        changed = image.clone()
        changed[row] = -changed[row]
        differs = (net(changed) - judged.logits).abs() > 1e-6
        assert differs.tolist() == [row < views, row >= views], 'neighbours are one scene, and every view counts'


def test_views_together_are_one_class() -> None:
    net = discriminator(views_together=2, num_classes=3, mbstd_group=0)
    image = torch.randn(4, 3, 16, 16)
    one, other = (net(image, classes=torch.tensor(classes)) for classes in ([0, 0, 1, 1], [0, 0, 2, 2]))
    assert one.shape == (2,) and torch.equal(one[0], other[0]) and not torch.allclose(one[1], other[1])


# Errors.


@pytest.mark.parametrize(('settings', 'message'), [
    ({'lr_multiplier': 0.0}, 'lr_multiplier'),
    ({'spread': -1.0}, 'spread'),
    ({'radius_range': 2.0}, 'radius_range'),
    ({'radius_range': -0.1}, 'radius_range'),
    ({'target_range': -0.1}, 'target_range'),
    ({'law': 'PoF3D_2023', 'radius_range': 0.1}, 'two angles'),
    ({'law': 'PoF3D_2023', 'target_range': 0.1}, 'two angles'),
])
def test_impossible_learners(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PoseLearnerConfig(rig=RIG, **settings)


def test_impossible_readers() -> None:
    for channels in ((8,), (8, 0)):
        with pytest.raises(UsageError, match='channels'):
            PoseReaderConfig(channels=channels)
    with pytest.raises(UsageError, match='trunk'):
        PoseReaderConfig(law='PoF3D_2023', sees='grey')
    with pytest.raises(UsageError, match='fewer'):
        GreyReader(8, PoseReaderConfig(sees='grey', channels=(4, 4, 4, 4)))


def test_impossible_discriminators() -> None:
    with pytest.raises(UsageError, match='needs a reader'):
        DiscriminatorConfig(conditions_on_pose=True)
    with pytest.raises(UsageError, match='at least 1'):
        DiscriminatorConfig(views_together=0)
    for condition in ({'conditions_on_pose': True, 'pose': PoseReaderConfig()}, {'conditions_on_camera': True}):
        with pytest.raises(UsageError, match='no common camera'):
            DiscriminatorConfig(views_together=2, **condition)
    with pytest.raises(UsageError, match='reads no poses'):
        discriminator(pose=None).read_pose(torch.zeros(1, 3, 16, 16))
