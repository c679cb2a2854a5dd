"""The GAN game: what each side pays for the discriminator's logits.

Non-saturating (Goodfellow et al. 2014, section 3): every picture is judged by itself. Relativistic (arXiv 1807.00734; with penalties on both
sides arXiv 2501.05441): every generated picture must beat the real one that it is paired with, so that pairs of a dropped mode keep costing.
"""

import torch.nn.functional as F
from torch import Tensor


def generator_loss(fake_logits: Tensor, real_logits: Tensor | float = 0.0) -> Tensor:
    """-log sigmoid(D(fake) - D(real)), [N] -> [N]; without real logits the non-saturating loss. Falls when fakes are taken for real."""
    return F.softplus(real_logits - fake_logits)


def discriminator_loss_on_fakes(fake_logits: Tensor) -> Tensor:
    """-log(1 - sigmoid(D(fake))), [N] -> [N]."""
    return F.softplus(fake_logits)


def discriminator_loss_on_reals(real_logits: Tensor) -> Tensor:
    """-log sigmoid(D(real)), [N] -> [N]."""
    return F.softplus(-real_logits)


def discriminator_loss_on_pairs(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """-log sigmoid(D(real) - D(fake)), [N] -> [N]: the relativistic loss of both sides of a pair."""
    return F.softplus(fake_logits - real_logits)
