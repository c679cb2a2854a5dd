"""The non-saturating GAN game (Goodfellow et al. 2014, section 3): what each side pays for the other's logits."""

import torch.nn.functional as F
from torch import Tensor


def generator_loss(fake_logits: Tensor) -> Tensor:
    """-log sigmoid(D(fake)), [N] -> [N]: falls when the discriminator takes fakes for real."""
    return F.softplus(-fake_logits)


def discriminator_loss_on_fakes(fake_logits: Tensor) -> Tensor:
    """-log(1 - sigmoid(D(fake))), [N] -> [N]."""
    return F.softplus(fake_logits)


def discriminator_loss_on_reals(real_logits: Tensor) -> Tensor:
    """-log sigmoid(D(real)), [N] -> [N]."""
    return F.softplus(-real_logits)
