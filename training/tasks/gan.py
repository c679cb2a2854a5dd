"""The game of a generator of scenes and a discriminator of images, with cameras that are known, drawn from a law, invented or read.

EG3D (arXiv 2112.07945) is the plain case. Multi-view discrimination (arXiv 2402.00225) shows the discriminator several views of each scene.
PoF3D (arXiv 2301.07702) lets the generator invent the cameras and the discriminator read them. All of it is one step, whose parts the
configuration switches on; docs/poses.md says what each is for.

Regularisers are lazy (StyleGAN2, arXiv 1912.04958, appendix B) but share the optimiser step and the forward pass of the main loss in
the iterations in which they are due, multiplied by their interval. The published code gives them steps of their own, which costs one
more discriminator pass and asks for corrected Adam constants; the expected gradient is the same.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_utils.distributed import World
from torch_utils.precision import autocast
from torch_utils.rng import Stream
from training import schedules
from training.augment.controller import AdaController
from training.augment.pipe import AugmentPipe
from training.cameras.camera import Camera
from training.cameras.rig import POSE_NUMBERS, Rig, as_read
from training.data.item import Batch
from training.losses import adversarial
from training.losses.density import density_smoothness, neighbouring_points
from training.losses.gradient_penalty import gradient_penalty
from training.losses.pose import pose_error, yaw_error
from training.networks.discriminator import Discriminator, Judgement
from training.networks.generator3d import Generator3D
from training.task import Moment, Phase
from training.tasks.arrangement import ArrangedPhotographs
from training.tasks.conditions import Conditions, ConditionSource
from training.tasks.gan_config import GanConfig
from training.tasks.readings import ReadConditions
from training.tasks.showing import Showing
from training.tasks.views import View, mirrored, stacked, stacked_stream, unstacked

PAIRED_AMONG = 4  # rows, where the minibatch deviation forms no groups


@dataclass(frozen=True, slots=True, eq=False)
class Fakes:
    """Generated pictures: for each view of the N scenes an image and its raw companion, before anything is done to them for the discriminator."""

    conditions: Conditions
    views: list[View]
    pictures: list[tuple[Tensor, Tensor | None]]

    def detached(self) -> 'Fakes':
        """The same, as if nobody had made them."""
        return Fakes(self.conditions, [view.detached() for view in self.views], [(image.detach(), None if raw is None else raw.detach()) for image, raw in self.pictures])


class GanTask:
    """Implements training.task.Task."""

    averaged = ('generator',)
    phases = (Phase('G', trains='generator'), Phase('D', trains='discriminator'))

    def __init__(
        self,
        config: GanConfig,
        generator: Generator3D,
        discriminator: Discriminator,
        conditions: ConditionSource,
        augment: AugmentPipe,
        ada: AdaController,
    ) -> None:
        self.config = config
        self.networks = {'generator': generator, 'discriminator': discriminator}
        self.generator, self.discriminator = generator, discriminator
        self.conditions = conditions
        self.reads = conditions if isinstance(conditions, ReadConditions) else None
        self.arranged = None if self.reads is None else self.reads.arranged
        self.ada = ada
        self.showing = Showing(config, augment, ada, discriminator.config.see == 'dual', generator.config.render_resolution)
        self.rig = Rig() if discriminator.config.pose is None else discriminator.config.pose.rig
        self._shared: dict[tuple[int, ...], Fakes] = {}  # of this iteration's micro-batches, by their rows
        self._seen_ws: list[Tensor] = []  # likewise, as are the signs
        self._seen_signs: list[Tensor] = []

    def terms(self, phase: Phase, batch: Batch, moment: Moment) -> Iterator[Tensor]:
        self.generator.reach(schedules.hold_then_ramp(moment.nimg, self.config.far_hold_kimg, self.config.far_fade_kimg))
        yield from self._generator_terms(batch, moment) if phase.trains == 'generator' else self._discriminator_terms(batch, moment)

    def finish_step(self, moment: Moment, world: World) -> None:
        images = sum(len(ws) for ws in self._seen_ws) * world.size
        mean_w = torch.cat(self._seen_ws).mean(dim=0)
        mean_sign = torch.cat(self._seen_signs).mean()
        self._seen_ws, self._seen_signs = [], []
        world.all_reduce_mean_([mean_w, mean_sign])  # every rank has the same share, so the mean of means is the mean
        self.generator.track_w(mean_w[None], self.config.w_average_beta)
        self.ada.observe(mean_sign, images)
        moment.report('Progress/augment', self.ada.p)
        if self.reads is not None:
            self.reads.readings.finish_step(images, world)

    def state_dict(self) -> dict:
        return self.ada.state_dict() | ({} if self.reads is None else self.reads.state_dict())

    def load_state_dict(self, state: dict) -> None:
        self.ada.load_state_dict(state)
        if self.reads is not None:
            self.reads.load_state_dict(state)

    def _generator_terms(self, batch: Batch, moment: Moment) -> Iterator[Tensor]:
        config = self.config
        ws, planes, fakes = self._make(batch, moment, config.views)
        views, conditions = fakes.views, fakes.conditions
        self._seen_ws.append(ws.detach()[:, 0])
        if config.shares_fakes:
            self._shared[moment.stream.rows] = fakes.detached()
        judged = self._judge_fakes(fakes, moment)
        real_logits: Tensor | float = 0.0
        if config.loss == 'relativistic':
            with torch.no_grad():
                raw = self.showing.raw_of_real(batch.images, moment.nimg)
                real_logits = self._partners(self._judge_reals(batch.images, raw, batch, moment).logits, views, conditions)
        loss = self._per_scene(adversarial.generator_loss(judged.logits, real_logits), views)
        moment.report('Loss/scores/fake', judged.logits)
        moment.report('Loss/signs/fake', (judged.logits - real_logits).sign())
        moment.report('Loss/G/loss', loss)
        if judged.pose is not None:
            loss = loss + self._pose_terms(judged.pose, views, ws, moment)
        if config.density_weight > 0 and moment.step % config.density_every == 0:
            roughness = self._roughness(planes, moment.stream)
            moment.report('Loss/G/density', roughness)
            loss = loss + roughness * (config.density_weight * config.density_every)
        yield loss

    def _pose_terms(self, read: Tensor, views: list[View], ws: Tensor, moment: Moment) -> Tensor:
        """What the generator pays for poses [N]; read [V N, 3]: the discriminator's numbers for its pictures."""
        config = self.config
        terms = read.new_zeros(len(ws))
        if config.pose_told_weight > 0:
            told = self._per_scene(pose_error(read, stacked([view.code for view in views], config.view_order).detach()), views)
            moment.report('Loss/G/pose_told', told)
            terms = terms + told * config.pose_told_weight
        if config.pose_learner_weight > 0 and self.generator.pose_learner is not None:
            # The picture need not be rendered again under a detached w: nothing of this term reaches it anyhow.
            own = self.generator.pose(ws[:, 0].detach())
            first = read[: len(own)] if config.view_order == 'apart' else read[:: len(views)]
            agreement = pose_error(as_read(first).detach(), own)
            moment.report('Loss/G/pose_learner', agreement)
            terms = terms + agreement * config.pose_learner_weight
        return terms

    def _conditions(self, batch: Batch, moment: Moment) -> Conditions:
        """What the fakes are asked to be. A relativistic pair is of one class."""
        device = batch.images.device
        if self.config.loss == 'relativistic' and self.generator.config.num_classes:
            return Conditions(batch.classes, self.conditions.cameras(batch.classes, moment.stream, device))
        return self.conditions.sample(moment.stream, device)

    def _views(self, conditions: Conditions, pose: Tensor | None, count: int, moment: Moment) -> list[View]:
        """From where the scenes of a batch are judged, and what each view weighs: a mean over the law's views, and the mirrored one on top."""
        if pose is not None:
            learner = self.generator.pose_learner
            views = [View(learner.camera(pose), pose[:, :3], 1.0)]
            moment.report('Poses/yaw_sin', pose[:, 0])
            moment.report('Poses/yaw_cos', pose[:, 1])
            moment.report('Poses/pitch', pose[:, 2])
        else:
            cameras = [conditions.camera]
            for i in range(1, count):
                stream = moment.stream.within(f'view{i}')
                cameras.append(self.conditions.cameras(conditions.classes, stream, conditions.camera.device))
            views = [View(camera, self.rig.code_of(camera), 1.0 / count) for camera in cameras]
        if self.config.mirror_weight > 0 and moment.step % self.config.mirror_every == 0:
            camera = mirrored(views[0].camera, self.config.mirror, moment.stream)
            # A learned target is mirrored too, so the code is the mirrored one, and not where the camera stands about the rig's target.
            code = views[0].code * views[0].code.new_tensor([-1.0, 1.0, 1.0]) if self.config.mirror == 'left_right' else self.rig.code_of(camera)
            views.append(View(camera, code, self.config.mirror_weight * self.config.mirror_every, True))
        return views

    def _ws(self, conditions: Conditions, moment: Moment) -> Tensor:
        """[N, num_ws, w_dim], with camera swapping and style mixing."""
        generator, config, stream = self.generator, self.config, moment.stream
        camera = self._conditioning_camera(conditions.camera, moment) if generator.config.conditions_on_camera else None
        ws = generator.mapping(stream.normal('z', generator.config.z_dim, device=conditions.camera.origins.device), conditions.classes, camera)
        if config.style_mixing_probability > 0:
            device = ws.device
            other = generator.mapping(stream.normal('z/mixed', generator.config.z_dim, device=device), conditions.classes, camera)
            cutoff = 1 + stream.integers('mixing/cutoff', ws.shape[1] - 1).to(device)
            mixes = stream.bernoulli('mixing/happens', config.style_mixing_probability).to(device)
            takes_other = mixes[:, None] & (torch.arange(ws.shape[1], device=device)[None] >= cutoff[:, None])
            ws = torch.where(takes_other[:, :, None], other, ws)
        return ws

    def _conditioning_camera(self, camera: Camera, moment: Moment) -> Camera:
        """The rendering camera, or with the scheduled probability another draw: else the scene could depend on where it is seen from."""
        probability = schedules.camera_swap_probability(moment.nimg, self.config.camera_swap_final, self.config.camera_swap_fade_kimg)
        swaps = moment.stream.bernoulli('camera/swap', probability).to(camera.origins.device)
        other = self.conditions.sample(moment.stream.within('camera/other'), camera.origins.device).camera
        return Camera.where(swaps, other, camera)

    def _planes(self, ws: Tensor, stream: Stream) -> Tensor:
        with autocast(self.config.precision_backbone, ws.device):
            planes = self.generator.planes(ws, noise='random', stream=stream)
        return planes.float()

    def _roughness(self, planes: Tensor, stream: Stream) -> Tensor:
        config = self.config
        box_side = self.generator.config.rendering.box_side
        points = neighbouring_points(stream, config.density_points, config.density_distance, box_side, config.density_region, planes.device)
        learned = self.generator.field(planes).without_priors()  # which are as rough as they were made, and would drown what can be learned
        return density_smoothness(lambda p: learned(p)[0], points)

    def _discriminator_terms(self, batch: Batch, moment: Moment) -> Iterator[Tensor]:
        config = self.config
        due = moment.step % config.r1_every == 0
        if config.shares_fakes:
            fakes = self._shared.pop(moment.stream.rows)
        else:
            with torch.no_grad():
                _, _, fakes = self._make(batch, moment, config.views_judged)
        views, conditions = fakes.views, fakes.conditions
        fake_leaves: list[Tensor] = []
        judged = self._judge_fakes(fakes, moment, fake_leaves if due and config.r2_gamma > 0 else None)
        fake_terms = judged.logits.new_zeros(len(views[0].code))
        if judged.pose is not None and config.pose_reading_weight > 0:
            # Only what was meant is a lesson; the mirrored view is there to be judged.
            read = unstacked(judged.pose, len(views), config.view_order)
            asked = [view for view in views if not view.is_mirrored]
            reading = torch.stack([pose_error(read[i], view.code) for i, view in enumerate(asked)]).mean(dim=0)
            moment.report('Loss/D/pose_reading', reading)
            fake_terms = fake_terms + reading * config.pose_reading_weight
        if fake_leaves:
            penalty = gradient_penalty(judged.logits, fake_leaves) * (self.discriminator.config.views_together / len(views))
            moment.report('Loss/r2_penalty', penalty)
            fake_terms = fake_terms + penalty * (config.r2_gamma / 2 * config.r1_every)
        if config.loss == 'non_saturating':
            fake_loss = self._per_scene(adversarial.discriminator_loss_on_fakes(judged.logits), views)
            yield fake_loss + fake_terms

        due = due and config.r1_gamma > 0
        image, raw = batch.images.detach(), self.showing.raw_of_real(batch.images, moment.nimg)
        # Leaves each: what the discriminator makes of a difference between the two must have a price as well.
        leaves = [tensor.requires_grad_(due) for tensor in (image, raw) if tensor is not None]
        seen: list[Tensor] = []
        real = self._judge_reals(image, raw, batch, moment, seen)
        if config.loss == 'non_saturating':
            margin = real.logits.detach()
            loss = self._per_scene(adversarial.discriminator_loss_on_reals(real.logits))
            moment.report('Loss/D/loss', fake_loss.detach() + loss)
        else:
            partners = self._partners(real.logits, views, conditions)
            margin = (partners - judged.logits).detach()
            loss = self._per_scene(adversarial.discriminator_loss_on_pairs(judged.logits, partners), views)
            moment.report('Loss/D/loss', loss)
            loss = loss + fake_terms
        self._seen_signs.append(margin.sign())  # logits of pairs have no zero of their own
        moment.report('Loss/scores/real', real.logits)
        moment.report('Loss/signs/real', margin.sign())
        if due:
            # One answer's penalty is the sum over its pictures, and terms are a mean over the batch's pictures.
            penalty = gradient_penalty(real.logits, leaves if config.r1_at == 'real' else seen) * self.discriminator.config.views_together
            moment.report('Loss/r1_penalty', penalty)
            loss = loss + penalty * (config.r1_gamma / 2 * config.r1_every)
        lesson = config.pose_arranged_weight * (1 - schedules.hold_then_ramp(moment.nimg, config.pose_arranged_hold_kimg, config.pose_arranged_fade_kimg))
        if lesson > 0 and self.arranged is not None:
            error = self._arranged_error(self.arranged, batch.images.device, moment)
            moment.report('Loss/D/pose_arranged', error)
            loss = loss + error * lesson
        if self.reads is not None:
            self.reads.readings.note(moment.stream.rows, as_read(real.pose).detach(), batch.classes if self.generator.config.num_classes else None)
        yield loss

    def _arranged_error(self, arranged: ArrangedPhotographs, device: torch.device, moment: Moment) -> Tensor:
        """[N]: how far what is read of photographs lies from where likeness put them."""
        stream = moment.stream.within('arranged')
        image, direction = arranged.draw(stream, device)
        with autocast(self.config.precision_discriminator, image.device):
            numbers = self.discriminator.read(image, self.showing.raw_of_real(image, moment.nimg), stream)
        return yaw_error(numbers.float(), direction)

    def _make(self, batch: Batch, moment: Moment, count: int) -> tuple[Tensor, Tensor, Fakes]:
        """New scenes, their ws [N, num_ws, w_dim] and planes, and the pictures of them from `count` views, and the mirrored one if it is due."""
        conditions = self._conditions(batch, moment)
        ws = self._ws(conditions, moment)
        planes = self._planes(ws, moment.stream)
        pose = None if self.generator.pose_learner is None else self.generator.pose(ws[:, 0])
        views, side = self._views(conditions, pose, count, moment), self.showing.resolution(moment.nimg)
        made = [self.generator.render(planes, ws, view.camera, side, stream=_of_view(moment, i)) for i, view in enumerate(views)]
        return ws, planes, Fakes(conditions, views, [(fake.image, self.showing.raw_of_fake(fake)) for fake in made])

    def _judge_fakes(self, fakes: Fakes, moment: Moment, leaves: list[Tensor] | None = None) -> Judgement:
        """Of [V N] pictures of N scenes. A list `leaves` asks for gradients with respect to the pictures and receives them."""
        views, conditions, order, count = fakes.views, fakes.conditions, self.config.view_order, len(fakes.views)
        images, raws = [], []
        for i, pair in enumerate(fakes.pictures):
            if leaves is not None:
                leaves.extend(tensor.requires_grad_() for tensor in pair if tensor is not None)
            image, raw = self.showing(*pair, moment.nimg, _of_view(moment, i), is_real=False)
            images.append(image)
            raws.append(raw)
        codes = stacked([view.code for view in views], order) if self.config.pose_condition == 'asked' else None
        rows = stacked_stream(moment.stream, count, order)
        return self._judge(
            stacked(images, order),
            None if raws[0] is None else stacked(raws, order),
            None if conditions.classes is None else stacked([conditions.classes] * count, order),
            Camera(*(stacked([getattr(view.camera, name) for view in views], order) for name in ('world_from_camera', 'intrinsics'))),
            codes,
            moment.nimg,
            rows,
        )

    def _judge_reals(self, image: Tensor, raw: Tensor | None, batch: Batch, moment: Moment, seen: list[Tensor] | None = None) -> Judgement:
        """Of the batch's pictures and their raw companions; `seen` receives what the discriminator is shown of them."""
        image, raw = self.showing(image, raw, moment.nimg, moment.stream, is_real=True)
        if seen is not None:
            seen.extend(tensor for tensor in (image, raw) if tensor is not None)
        stream = moment.stream.within('real')
        return self._judge(image, raw, batch.classes, batch.camera, None, moment.nimg, stream)

    def _judge(
        self,
        image: Tensor,
        raw: Tensor | None,
        classes: Tensor | None,
        camera: Camera | None,
        pose: Tensor | None,
        nimg: int,
        stream: Stream,
    ) -> Judgement:
        """pose None: what the discriminator reads, if it judges under poses."""
        config, jitter = self.config, None
        if nimg < config.pose_condition_from_kimg * 1000:
            pose = image.new_zeros(len(image), POSE_NUMBERS)
        elif config.pose_condition_jitter_deg > 0:
            jitter = math.radians(config.pose_condition_jitter_deg) * stream.normal('pose/jitter', 2, device=image.device)
        with autocast(config.precision_discriminator, image.device):
            sees_camera = self.discriminator.config.conditions_on_camera
            judged = self.discriminator.judge(image, raw, classes, camera if sees_camera else None, pose, jitter, stream)
        return Judgement(judged.logits.float(), None if judged.pose is None else judged.pose.float())

    def _per_scene(self, losses: Tensor, views: list[View] | None = None) -> Tensor:
        """Losses of [V N] pictures -> [N], weighted. Losses of several pictures each stand for all of them."""
        together = self.discriminator.config.views_together
        if together > 1:  # [V N / together] answers; terms are summed over a batch of N
            return losses if views is not None else losses.repeat_interleave(together)
        if views is None:
            return losses
        return sum(view.weight * part for view, part in zip(views, unstacked(losses, len(views), self.config.view_order), strict=True))

    def _partners(self, real_logits: Tensor, views: list[View], conditions: Conditions) -> Tensor:
        """Logits [V N] of the real pictures that [V N] generated ones are paired with: each view has another one, unless classes forbid it.

        Partners are neighbours in a group of the minibatch deviation, so that pairs do not depend on how a batch is cut.
        """
        shift = 0 if conditions.classes is not None else 1
        group = self.discriminator.config.mbstd_group if self.discriminator.config.mbstd_group > 1 else PAIRED_AMONG
        group = max(group // self.discriminator.config.views_together, 1)
        neighbours = real_logits.unflatten(0, (-1, math.gcd(group, len(real_logits))))
        return stacked([neighbours.roll(i * shift, dims=1).flatten() for i in range(len(views))], self.config.view_order)


def _of_view(moment: Moment, i: int) -> Stream:
    return moment.stream if i == 0 else moment.stream.within(f'view{i}')
