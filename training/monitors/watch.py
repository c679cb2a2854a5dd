"""The hook that looks while training runs, writes down what it sees, and says what is wrong."""

import sys
from dataclasses import asdict, dataclass, field, replace

from tqdm import tqdm

from metrics.features import PhotoFeatures
from torch_utils.statistics import Summary
from training.build import Built
from training.hooks import averaged_generator
from training.loop import Hook, Tick, Trainer
from training.monitors.alarms import Alarm, Measures, Reference, announced
from training.monitors.look import Read, look_at_generator, meant_conditions, reader_of, reference_of
from training.monitors.measures import Reported, average_gap, law_kept, measure
from training.snapshot import finds_cameras

RECENT_IMAGES = 500  # losses and scores are judged over the ticks of the last so many images


def is_due(nimg: int, batch: int, tick_kimg: float, every_kimg: float) -> bool:
    """Whether a tick that ends at `nimg` images is the first at or after a multiple of `every_kimg`.

    A function of the count alone, so that an interrupted run is checked where a whole one is; the tick at which a run is stopped counts only
    if it would have been one anyway.
    """
    tick, every = tick_kimg * 1000, every_kimg * 1000
    before, now = (nimg - batch) // tick * tick, nimg // tick * tick
    return now > before and now // every > before // every


@dataclass
class Monitors(Hook):
    """Looks, adds Monitor/<name> to the statistics of the tick (it must come before the hook that writes them), and says alarms."""

    built: Built
    _features: PhotoFeatures | None = field(default=None, init=False)
    _read: Read | None = field(default=None, init=False)
    _reference: Reference = field(default=Reference(), init=False)
    _ticks: list[tuple[int, Summary]] = field(default_factory=list, init=False)  # since the last check, and the images at their ends
    _raised: list[Alarm] = field(default_factory=list, init=False)

    def at_start(self, trainer: Trainer) -> None:
        config = self.built.config
        if config.monitors.every_kimg > 0 and trainer.world.is_main:
            self._features = PhotoFeatures(device=trainer.world.device)
            self._read = reader_of(self.built.dataset)
            self._reference = reference_of(
                self.built.dataset, meant_conditions(self.built), config.generator, config.monitors.images, finds_cameras(config)
            )

    def at_tick(self, trainer: Trainer, tick: Tick) -> None:
        if self._features is None:
            return
        self._ticks.append((trainer.nimg, dict(tick.statistics)))
        loop, monitors = trainer.config, self.built.config.monitors
        if is_due(trainer.nimg, loop.batch, loop.tick_kimg, monitors.every_kimg):
            measures = self._measure(trainer)
            tick.statistics.update({f'Monitor/{name}': {'num': 1, 'mean': value, 'std': 0.0} for name, value in asdict(measures).items()})
            self._ticks.clear()
            self._raised, lines = announced(self._raised, measures, self._reference, trainer.nimg / 1000, self.built.config.gan.blur_fade_kimg)
            for line in lines:
                tqdm.write(line, file=sys.stderr)

    def _measure(self, trainer: Trainer) -> Measures:
        average, trained = averaged_generator(trainer), trainer.task.networks['generator']
        reported = Reported(
            recent=[summary for end, summary in self._ticks if end > trainer.nimg - RECENT_IMAGES],
            since_check=[summary for _, summary in self._ticks],
            average_gap=float(average_gap(average, trained)),
            augment_adapts=self.built.task.ada.adapts,
        )
        look = look_at_generator(average, self.built.conditions, self.built.config.monitors.images, trainer.world.device)
        return replace(measure(look, reported, self._features, self._read), law_kept=law_kept(self.built.conditions))
