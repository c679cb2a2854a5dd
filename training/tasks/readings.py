"""The law of cameras, read off the real pictures: fakes are seen from where a reader says that photographs were taken.

A reader of poses learns on generated pictures, whose cameras are known, and reads every real picture that training shows. Its last readings,
class by class, are a sample of the law that nobody knew. Cameras are drawn from them with a little jitter, and now and then from a wide law:
without that exploration readings and cameras agree on ever fewer directions. Or likeness says where photographs were taken from
(arrangement.py), and cameras are drawn from that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import DataError, UsageError
from torch_utils.distributed import World
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.distributions import LawConfig
from training.cameras.rig import POSE_NUMBERS, Rig, rig_of
from training.tasks.arrangement import ArrangedPhotographs
from training.tasks.conditions import Conditions

LEAST_MEMORY = 200  # readings per class; fewer are no law


@dataclass(frozen=True, slots=True)
class ReadingConfig:
    """How the law of cameras is read. The configuration's `cameras` are where one looks from while nothing is known, and when one explores."""

    memory: int = 3000  # readings that are kept, over all classes; at least 200 for each
    jitter_deg: float = 8.0  # standard deviation of the yaw added to a reading; half as much to the pitch
    exploration: float = 0.25  # share of cameras that are drawn from the wide law for good
    warmup_kimg: float = 2.0  # readings before the first is used
    arranged: int = 0  # photographs of each class that are arranged by likeness before training (likeness.py); they are its first readings
    sure: float = 0.5  # a class whose pictures agree on the sense of rotation less than this is left unarranged
    # Cameras of a class that likeness arranged: where its photographs are read to be, or for good where likeness put them. What is
    # read of photographs lies nearer to the front than what likeness finds, and once no likeness teaches it the law collapses to the front.
    law: Literal['read', 'arranged'] = 'read'

    def __post_init__(self) -> None:
        if self.arranged < 0:
            raise UsageError(f'reading.arranged counts photographs and cannot be negative; found {self.arranged}.')
        if not 0.5 <= self.sure <= 1:
            raise UsageError(f'reading.sure is the share of the larger party, .5 to 1; found {self.sure}.')
        if self.memory < 1 or not 0 <= self.exploration <= 1 or self.jitter_deg < 0 or self.warmup_kimg < 0:
            raise UsageError(
                f'reading: memory must be at least 1, exploration a probability, jitter_deg and warmup_kimg not negative; found {self.memory}, '
                f'{self.exploration}, {self.jitter_deg} and {self.warmup_kimg}.'
            )


class Readings:
    """The last readings of each class, on one device. Writing and drawing never wait for it."""

    def __init__(self, config: ReadingConfig, num_classes: int) -> None:
        self.config = config
        self.capacity = max(config.memory // max(num_classes, 1), LEAST_MEMORY)
        self.codes = torch.zeros(max(num_classes, 1), self.capacity + 1, POSE_NUMBERS)  # the last place takes what nobody will read
        self.written = torch.zeros(max(num_classes, 1), dtype=torch.int64)
        self._noted: list[tuple[Sequence[int], Tensor, Tensor | None]] = []  # of this step: rows, codes, classes

    def to(self, device: torch.device) -> 'Readings':
        """Moves the memory; returns itself."""
        self.codes, self.written = self.codes.to(device), self.written.to(device)
        return self

    def add(self, codes: Tensor, classes: Tensor | None) -> None:
        """Note codes [N, 3], in order; the oldest of a class go when its memory is full."""
        self.to(codes.device)
        rows = codes.new_zeros(len(codes), dtype=torch.int64) if classes is None else classes
        one_hot = (rows[:, None] == torch.arange(len(self.written), device=rows.device)).long()  # functional.one_hot looks at the numbers
        earlier = (one_hot.cumsum(0) - 1).gather(1, rows[:, None])[:, 0]  # of the same class in this very call
        # Of more than fit only the last are kept, for which of two writes to a place wins is anybody's guess. (A mask would wait for the device.)
        fresh = one_hot.sum(0)[rows] - earlier <= self.capacity
        self.codes[rows, torch.where(fresh, (self.written[rows] + earlier) % self.capacity, self.capacity)] = codes.float()
        self.written += one_hot.sum(0)

    def note(self, rows: Sequence[int], codes: Tensor, classes: Tensor | None) -> None:
        """What was read of a micro-batch: codes [n, 3] and classes [n] of these rows, a run of the global batch. `finish_step` adds it."""
        self._noted.append((rows, codes, classes))

    def finish_step(self, images: int, world: World) -> None:
        """Add what was noted of a batch of so many images, in the order of the batch, the same on every rank."""
        classes_known = self._noted[0][2] is not None
        noted = self._noted[0][1].new_zeros(images, POSE_NUMBERS + 1)
        for rows, codes, classes in self._noted:
            at = slice(rows[0], rows[-1] + 1)
            noted[at, :POSE_NUMBERS] = codes
            if classes_known:
                noted[at, POSE_NUMBERS] = classes.to(noted)
        self._noted = []
        if world.size > 1:
            world.all_reduce_mean_([noted])
            noted *= world.size  # each row came from one rank and is zero on the others
        self.add(noted[:, :POSE_NUMBERS], noted[:, POSE_NUMBERS].round().long() if classes_known else None)

    def begin_with(self, codes: Tensor, classes: Tensor | None) -> None:
        """Note codes that have no order in time; where a class has more than its memory holds, which ones are kept does not depend on their order."""
        shuffled = torch.from_numpy(np.random.RandomState(0).permutation(len(codes))).to(codes.device)
        self.add(codes[shuffled], None if classes is None else classes[shuffled])

    def draw(self, stream: Stream, classes: Tensor | None, device: torch.device) -> tuple[Tensor, Tensor]:
        """(one kept code for each row of the stream [N, 3], how many its class has written [N])."""
        self.to(device)
        rows = torch.zeros(len(stream), dtype=torch.int64, device=device) if classes is None else classes
        written = self.written[rows]
        index = (stream.uniform('reading/which', device=device) * written.clamp(max=self.capacity)).long()
        return self.codes[rows, index], written

    def kept(self, number: int) -> Tensor:
        """Codes [K, 3] of one class, in no order that means anything."""
        return self.codes[number, : min(int(self.written[number]), self.capacity)]

    def state_dict(self) -> dict[str, Tensor]:
        return {'codes': self.codes.clone(), 'written': self.written.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where `state_dict` was taken, on the same device as now."""
        self.codes.copy_(state['codes'])
        self.written.copy_(state['written'])


@dataclass(frozen=True, slots=True)
class ReadConditions:
    """Classes as frequent as in the data, and cameras from the readings of the class. A training.tasks.conditions.ConditionSource.

    explores: training's way, with jitter and exploration; otherwise the readings as they are, which is what is believed to be the law.
    """

    classes: Tensor | None  # [D] int64
    law: LawConfig  # where nothing is known
    readings: Readings
    explores: bool = True
    arranged: ArrangedPhotographs | None = None  # what likeness found

    @property
    def rig(self) -> Rig:
        """What all cameras share."""
        return rig_of(self.law)

    @property
    def keeps_arranged(self) -> bool:
        """Whether arranged classes are seen from where likeness found them."""
        return self.readings.config.law == 'arranged' and self.arranged is not None

    def believed(self) -> 'ReadConditions':
        """The same law without jitter and exploration."""
        return replace(self, explores=False)

    def sample(self, stream: Stream, device: torch.device) -> Conditions:
        classes = None if self.classes is None else self.classes[stream.integers('conditions/index', len(self.classes))].to(device)
        return Conditions(classes, self.cameras(classes, stream, device))

    def cameras(self, classes: Tensor | None, stream: Stream, device: torch.device) -> Camera:
        """From the readings of these classes [N]."""
        config, rig = self.readings.config, self.rig
        anywhere = rig.code_of(self.law.sample(stream, device))
        code, written = self.readings.draw(stream, classes, device)
        least = config.warmup_kimg * 1000 / len(self.readings.written) if self.explores else 1
        unknown = written < max(least, 1)
        is_found = torch.zeros_like(unknown)
        if self.keeps_arranged:
            found, is_found = self.arranged.draw_code(stream, classes, device)
            code = torch.where(is_found[:, None], found, code)
        if self.explores:
            yaw, pitch = rig.angles(code)
            jitter = math.radians(config.jitter_deg)
            yaw = yaw + jitter * stream.normal('reading/yaw', device=device)
            pitch = pitch + jitter / 2 * stream.normal('reading/pitch', device=device)
            code = rig.code(yaw, pitch)
            unknown = unknown | stream.bernoulli('reading/explores', config.exploration, device=device)
        return rig.camera(torch.where((unknown & ~is_found)[:, None], anywhere, code))

    def state_dict(self) -> dict[str, Tensor]:
        """The readings, and where likeness put the photographs."""
        arranged = {f'arranged/{name}': tensor.clone() for name, tensor in self._arranged().items()}
        return {f'readings/{name}': tensor for name, tensor in self.readings.state_dict().items()} | arranged

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where `state_dict` was taken. Raises DataError where likeness has arranged other classes since."""
        self.readings.load_state_dict({name: state[f'readings/{name}'] for name in ('codes', 'written')})
        found, saved = self._arranged(), {name.removeprefix('arranged/'): tensor.cpu() for name, tensor in state.items() if name.startswith('arranged/')}
        alike = found.keys() == saved.keys() and all(found[name].shape == saved[name].shape for name in found)
        if not alike or ('classes' in found and not torch.equal(found['classes'], saved['classes'])):
            raise DataError('Likeness arranges other classes of these photographs than where the state was saved. Continue on the machine that began.')
        if self.arranged is not None:  # another machine arranges them a little differently
            self.arranged.codes.copy_(saved['codes'])

    def _arranged(self) -> dict[str, Tensor]:
        """What a state keeps of the photographs that likeness arranged."""
        if self.arranged is None:
            return {}
        return {'codes': self.arranged.codes} | ({} if self.arranged.classes is None else {'classes': self.arranged.classes})
