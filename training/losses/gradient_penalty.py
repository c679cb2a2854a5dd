"""The squared gradient of the discriminator at images: R1 at real ones (Mescheder et al. 2018, arXiv 1801.04406, equation 9), R2 at generated."""

from collections.abc import Sequence

import torch
from torch import Tensor


def gradient_penalty(logits: Tensor, images: Sequence[Tensor]) -> Tensor:
    """|d logit_n / d image_n|^2, summed over all `images` that the logits were computed from.

    logits [N]; each image [N, C, H, W] with requires_grad, in the graph of `logits`. Returns [N], differentiable.
    One backward pass serves the whole batch because logit n depends on image n; the minibatch-std channel couples samples
    weakly, and as in the published implementations that coupling is counted in.
    """
    once = list({id(image): image for image in images}.values())  # a picture that is also its own raw one counts once
    gradients = torch.autograd.grad(logits.sum(), once, create_graph=True)
    return sum(gradient.square().sum(dim=(1, 2, 3)) for gradient in gradients)
