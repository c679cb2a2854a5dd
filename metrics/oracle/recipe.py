"""What is decided before an oracle is trained, and the digest that stands for it."""

import hashlib
import json
from dataclasses import asdict, dataclass

from dnnlib.errors import UsageError
from metrics.oracle.network import MEANING
from training.data.synthetic import BITS

HELD_OUT_SEED = 7000  # of scenes; training scenes have 7001 + seed, experiments have small seeds


@dataclass(frozen=True, slots=True)
class OracleRecipe:
    """`images` scenes, each drawn once, spread evenly over all pairs of background and law of poses; `epochs` passes over them.

    `style` is the style of the scenes. Half of the poses are uniform, so that backs are read as well as fronts.
    """

    seed: int = 0
    style: str = 'plain'
    backgrounds: tuple[str, ...] = ('white', 'env')
    poses: tuple[str, ...] = ('wide', 'uniform')
    images: int = 32_000
    epochs: int = 4
    batch: int = 64
    width: int = 24
    num_features: int = 160
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup: float = 0.02

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f'An oracle cannot have the seed {self.seed}; it must be 0 or more.')
        if self.epochs < 1 or not 2 <= self.batch <= self.images or self.width < 1 or self.num_features < 1:
            raise UsageError(
                'An oracle needs at least one epoch, a batch of 2 or more that the images fill, and positive widths; got '
                f'epochs={self.epochs}, batch={self.batch}, images={self.images}, width={self.width}, num_features={self.num_features}.'
            )

    @property
    def data_seed(self) -> int:
        """Seed of the training scenes: two oracles share none, else they would err alike."""
        return HELD_OUT_SEED + 1 + self.seed

    def digest(self) -> str:
        """SHA-256 over the recipe, the version of toyworld's bits and the meaning of the network's sources: 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps([MEANING, BITS, asdict(self)], sort_keys=True).encode()).hexdigest()


PLAIN = OracleRecipe()
