"""What is seen where the light passed through everything."""

from torch import Tensor


def over_background(features: Tensor, opacity: Tensor, background: Tensor | float) -> Tensor:
    """Features [N, R, C] already weighted with the light that stopped, over a background: + (1 - opacity) * background.

    opacity [N, R, 1]; background is one number for all channels (1 = white, 0 = black), a colour [C], or an image [N, R, C]; same range as the
    features.
    """
    return features + (1.0 - opacity) * background
