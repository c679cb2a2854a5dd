"""Which pair of world axes each feature plane sees.

`PLANE_AXES[name]` is a tensor [P, 2, 3]: entry [p, 0] is the world direction that runs along the width of plane p, [p, 1] the one along its
height. A point p in box units ([-1, 1] inside the box) is looked up at (axes[p] @ point).
"""

import torch
from torch import Tensor

_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)

PLANE_AXES: dict[str, Tensor] = {
    'three_planes': torch.tensor([(_X, _Y), (_X, _Z), (_Z, _Y)]),
    # The released EG3D checkpoints: the third plane is (z, x), a transposed second plane, and y-z is never seen (acknowledged by its authors).
    'EG3D_2022': torch.tensor([(_X, _Y), (_X, _Z), (_Z, _X)]),
}
