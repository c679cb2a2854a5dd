"""Photographs of one kind of thing, arranged by likeness: from where each was taken, before anything has been generated.

Things are bilaterally symmetric, mostly. A photograph's mirror image is then one of the same thing from the mirrored camera, and photographs
together with their mirror images lie on a ring: the way around the thing. Likeness finds that ring. Each picture is joined to those whose
edges resemble its own (histograms of oriented gradients, Dalal and Triggs 2005: no colours), and the slowest ways in which a number can vary
over that graph (diffusion maps, Coifman and Lafon 2006; alpha = 1, so that crowded places count no more than others) are, after the constant:

- the slowest of those that change their sign with the mirror: near the sine of the azimuth;
- the second of those: near the sine of twice the azimuth; its sign is that of the first in front, and the opposite behind.

The size of the cosine follows from the sine, its sign from the second.

What is left are two choices that likeness cannot make. Which of the two symmetric views is called the front: here the one with more pictures,
which is only a name. And the sense: which of left and right is the way that cameras count. It is found by turning symmetric pictures a
little, as if they showed a ball (training.rendering.ball), and asking which pictures they resemble now. The share of pictures that agree says
how sure the answer is.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from scipy.sparse.linalg import eigsh
from torch import Tensor

from dnnlib.errors import DataError
from training.cameras.rig import Rig
from training.rendering.ball import turned

FEWEST = 200  # photographs; fewer are no ring
SIDE = 32  # pixels in which they are looked at, at most
NEIGHBOURS = 12
COPY = 0.9995  # cosine of the edges of pictures that are one picture
CELLS, DIRECTIONS = 8, 8  # of the histograms
MODES = 10  # slowest variations that are looked through
SMOOTHINGS = 4
UNDECIDED = 0.5  # of what tells front from back, on a scale of 1; below, a picture is taken to be from the side
VOTERS = 400
VOTE_DEG = 25.0
VOTE_BALLS = (0.055, 0.09, 0.13)  # radii, in parts of the rig's
VOTE_PITCH_DEG = 10.0
ROWS = 500  # of the table of likenesses at a time


@dataclass(frozen=True, slots=True)
class Ring:
    """Where pictures lie on the way around a thing. yaw_rad [M], float32, 0 in front. sense_share: of the pictures that were asked for the sense of rotation,
    the part that agrees with it, .5 to 1."""

    yaw_rad: Tensor
    sense_share: float


def ring_of(image: Tensor, rig: Rig) -> Ring:
    """The way around what these pictures [M, 3, S, S] in [-1, 1] show, all of one class; larger ones are looked at in 32 pixels.

    Deterministic on one machine. Cost for M = 2500 at 32 pixels: 3 seconds on one core, growing with the square of M.
    Raises DataError for fewer than 200 pictures that differ, or if no two variations change sign with the mirror.
    """
    if image.shape[-1] > SIDE:  # the way around a thing is seen from far
        image = F.adaptive_avg_pool2d(image, SIDE)
    if len(image) < FEWEST:
        raise DataError(f'fewer than {FEWEST} photographs, too few to be arranged by likeness')
    features = torch.cat([edges(part) for part in image.split(ROWS)])
    originals, number = _first_copies(features).unique(return_inverse=True)
    if len(originals) < len(image):  # a dozen copies would be neighbours of nobody else
        found = ring_of(image[originals], rig)
        return Ring(found.yaw_rad[number], found.sense_share)
    features = torch.cat([features, *(edges(part) for part in image.flip(3).split(ROWS))])
    graph = _graph(features)
    mirror = np.roll(np.arange(len(features)), len(image))  # picture <-> its mirror image
    first, second = _odd_modes(graph, mirror)
    sine, front = _spread(first), second * np.sign(first)
    step = sparse.diags(1 / _sums(graph)) @ graph
    for _ in range(SMOOTHINGS):  # the sign is anybody's guess where both modes are near 0
        front = step @ front
        front = (front + front[mirror]) / 2
    front = _spread(front)
    if (front > 0).mean() < 0.5:
        front = -front
    cosine = np.sqrt(1 - sine**2) * np.clip(front / UNDECIDED, -1, 1)
    share = _sense(image, features, sine, front, rig)
    if share < 0.5:
        sine, share = -sine, 1 - share
    yaw = np.arctan2(sine, cosine)[: len(image)]
    return Ring(torch.from_numpy(yaw).float(), share)


def edges(image: Tensor) -> Tensor:
    """[M, 3, S, S] -> unit vectors [M, 512]: where edges are and how they run, of the channel that has the strongest, whatever the colours."""
    dx = F.pad(image[..., 2:] - image[..., :-2], (1, 1))
    dy = F.pad(image[..., 2:, :] - image[..., :-2, :], (0, 0, 1, 1))
    strength, channel = (dx.square() + dy.square()).sqrt().max(dim=1, keepdim=True)
    dx, dy = dx.gather(1, channel), dy.gather(1, channel)
    direction = (torch.atan2(dy, dx) % torch.pi) / torch.pi * DIRECTIONS
    away = (direction - torch.arange(DIRECTIONS).view(-1, 1, 1) + DIRECTIONS / 2) % DIRECTIONS - DIRECTIONS / 2
    histograms = F.avg_pool2d((1 - away.abs()).clamp(min=0) * strength, 3, stride=1, padding=1)
    return F.normalize(F.adaptive_avg_pool2d(histograms, CELLS).flatten(1).sqrt(), dim=1)


def _first_copies(features: Tensor) -> Tensor:
    """int64 [M]: of each picture the first one that is the same, up to what a file format changes; mostly itself."""
    first = torch.cat([(part @ features.T >= COPY).float().argmax(dim=1) for part in features.split(ROWS)])
    while not torch.equal(first, first[first]):
        first = first[first]
    return first


def _nearest(queries: Tensor, features: Tensor, count: int, themselves: bool) -> tuple[Tensor, Tensor]:
    """(cosines, indices), each [Q, count], of the most alike; themselves: the queries are the features, and nobody is his own neighbour."""
    cosines, indices = [], []
    for start in range(0, len(queries), ROWS):
        table = queries[start : start + ROWS] @ features.T
        if themselves:
            rows = torch.arange(len(table))
            table[rows, rows + start] = -2.0
        value, index = table.topk(count, dim=1)
        cosines.append(value)
        indices.append(index)
    return torch.cat(cosines), torch.cat(indices)


def _graph(features: Tensor) -> sparse.csr_matrix:
    """Symmetric weights between neighbours, on the scale of each one's own distances (Zelnik-Manor and Perona 2004)."""
    count = len(features)
    cosine, index = _nearest(features, features, NEIGHBOURS, themselves=True)
    distance2 = (2 - 2 * cosine).clamp(min=0).double()
    scale = distance2[:, NEIGHBOURS // 2].sqrt()
    weight = torch.exp(-distance2 / (scale[:, None] * scale[index] + 1e-9))
    rows = np.repeat(np.arange(count), NEIGHBOURS)
    graph = sparse.coo_matrix((weight.numpy().ravel(), (rows, index.numpy().ravel())), shape=(count, count)).tocsr()
    return graph.maximum(graph.T)


def _sums(graph: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(graph.sum(axis=1)).ravel()


def _odd_modes(graph: sparse.csr_matrix, mirror: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two slowest variations over the graph that change their sign with the mirror, [2 M] each."""
    crowd = sparse.diags(1 / _sums(graph))
    fair = crowd @ graph @ crowd
    root = 1 / np.sqrt(_sums(fair))
    start = np.random.RandomState(0).standard_normal(len(root))  # ARPACK would take one of its own choice
    values, vectors = eigsh(sparse.diags(root) @ fair @ sparse.diags(root), k=MODES, which='LA', v0=start)
    modes = (vectors[:, np.argsort(-values)] * root[:, None]).T
    odd = [mode for mode in modes[1:] if mode @ mode[mirror] < -0.5 * mode @ mode]
    if len(odd) < 2:
        raise DataError('photographs that do not lie on a ring of left and right views')
    return odd[0], odd[1]


def _spread(values: np.ndarray) -> np.ndarray:
    """On a scale on which all but a few lie in [-1, 1]; those few at its ends."""
    return np.clip(values / np.quantile(np.abs(values), 0.97), -1, 1)


def _sense(image: Tensor, features: Tensor, sine: np.ndarray, front: np.ndarray, rig: Rig) -> float:
    """The share of symmetric front views that resemble pictures of a larger sine when they are turned to larger yaws."""
    count = len(image)
    rows = np.flatnonzero(front[:count] >= np.quantile(front[:count], 0.5))
    voters = torch.from_numpy(rows[np.argsort(np.abs(sine[rows]), kind='stable')][:VOTERS])
    ayes = []
    for ball in VOTE_BALLS:
        left, right = (_mean_sine(turned(image[voters], *_angles(sign, len(voters)), rig, ball), features, sine) for sign in (-1, 1))
        ayes.append(right > left)
    return float(np.mean(ayes))


def _angles(sign: int, count: int) -> tuple[Tensor, Tensor]:
    """(yaw, pitch) of the turns, radians, each [count]."""
    return torch.full((count,), math.radians(sign * VOTE_DEG)), torch.full((count,), math.radians(VOTE_PITCH_DEG))


def _mean_sine(image: Tensor, features: Tensor, sine: np.ndarray) -> np.ndarray:
    """Of the five pictures that each of these resembles most."""
    return sine[_nearest(edges(image), features, 5, themselves=False)[1].numpy()].mean(axis=1)
