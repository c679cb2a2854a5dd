"""The weights of a decoder with one hidden layer, in the order in which tensor_cores.h reads them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def pack_decoder(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """TensorCoreDecoder<C, H, F>::Weights as 32-bit words.

    weights  [H, C] and [1 + F, H], as torch.nn.functional.linear takes them; row 0 of the second is the raw density
    biases   [H] and [1 + F]
    result   int32 [words]: bfloat16 in pairs, the smaller input in the lower half, then float32

    Inputs k of a product are spread over lanes 4 g + t: a lane holds k = 8 q + 2 t + b (q, b < 2) of column g. The letters below are these;
    n counts columns by eights. Raises ValueError for sizes that tensor cores do not take.
    """
    if len(weights) != 2 or len(biases) != 2 or any(size % 16 for size in weights[0].shape):
        raise ValueError(
            f'weights of shapes {[tuple(weight.shape) for weight in weights]} do not fit tensor cores; '
            'there must be two, and the channels and hidden units must be multiples of 16'
        )
    hidden, channels = weights[0].shape
    blocks, eights = hidden // 16, channels // 32
    # Neighbouring channels lie in one lane: by eights, which feed two products, and by fours where 16 channels remain.
    by_eights = weights[0][:, : 32 * eights].reshape(blocks, 2, 8, eights, 4, 2, 2, 2)  # [block, n, g, i, t, product, q, b]
    by_fours = weights[0][:, 32 * eights :].reshape(blocks, 2, 8, -1, 4, 2, 2)  # [block, n, g, i, t, q, b]
    first = torch.cat([
        by_eights.permute(0, 3, 5, 2, 4, 1, 6, 7).flatten(1),
        by_fours.permute(0, 3, 2, 4, 1, 5, 6).flatten(1),
    ], dim=1)  # fmt: skip
    # The sums of the first product are inputs of the second as they lie.
    features = weights[1].shape[0] - 1
    padding = -features % 16
    second = F.pad(weights[1][1:], (0, 0, 0, padding)).reshape(-1, 2, 8, blocks, 2, 4, 2)  # [pair, n, g, block, q, t, b]
    second = second.permute(3, 0, 2, 5, 1, 4, 6)
    rest = torch.cat([biases[0], weights[1][0], F.pad(biases[1][1:], (0, padding)), F.pad(biases[1][:1], (0, 3))])
    halves = torch.cat([first.flatten(), second.flatten()]).bfloat16()
    return torch.cat([halves.view(torch.int32), rest.float().view(torch.int32)])
