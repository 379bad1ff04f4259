"""Fusion of the views (L7), with learned or equal weights, or by their majority."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from otovox.systems.mpunet.network import ViewFusion

#: Learning rate of Adam and passes over the voxels. Source: MPUNet's defaults (`train_fusion`).
RATE, EPOCHS = 1e-3, 30
#: Voxels per step, and passes without improvement before stopping. Source: the same; the framework
#: uses 2^17 voxels, which would give too few steps here: chosen, not measured.
BATCH, PATIENCE = 1 << 12, 3
#: A voxel is contested if any view gives the labyrinth a higher probability than this. Chosen.
CONTESTED = 0.01


def contested(
    views: NDArray[np.float32], labels: NDArray, *, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Voxels of one volume that are informative for the fusion.

    All views agree on the others, which are far more numerous; the framework uses these too.

    Args:
        views: (views, i, j, k) probability of the labyrinth.
        labels: (i, j, k), 1 in the labyrinth.
        most: maximum number of voxels.
        rng: source of randomness.

    Returns:
        (n, views) probabilities and (n,) labels.
    """
    places = np.flatnonzero((views.max(axis=0) > CONTESTED) | (labels > 0))
    if len(places) > most:
        places = rng.choice(places, most, replace=False)
    flat = views.reshape(len(views), -1)
    return flat[:, places].T.copy(), labels.reshape(-1)[places].astype(np.uint8)


def train_fusion(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.uint8],
    *,
    seed: int = 0,
    rate: float = RATE,
    epochs: int = EPOCHS,
) -> ViewFusion:
    """Learn the weights of the views with cross-entropy.

    Args:
        probabilities: (n, views) of the labyrinth, for voxels of training volumes.
        labels: (n,) 1 in the labyrinth.
        seed: random seed of the voxels' order.
        rate: learning rate of Adam.
        epochs: maximum number of passes over the voxels.

    Returns:
        The fusion with the lowest loss over all voxels; the plain sum without voxels.

    Source: Perslev et al. 2019: one weight per view and class. The framework minimises a Dice
    loss, whereas requirement L6 specifies cross-entropy.
    """
    fusion = ViewFusion(probabilities.shape[1])
    if not len(labels):
        return fusion
    given = _classes(torch.from_numpy(np.asarray(probabilities, np.float32)))
    truth = torch.from_numpy(np.asarray(labels, np.int64))
    optimiser = torch.optim.Adam(fusion.parameters(), rate)
    order = torch.Generator().manual_seed(seed)
    best, kept, waited = np.inf, {}, 0
    for _ in range(epochs):
        for batch in torch.randperm(len(truth), generator=order).split(BATCH):
            optimiser.zero_grad()
            functional.cross_entropy(fusion(given[batch]), truth[batch]).backward()
            optimiser.step()
        with torch.no_grad():
            loss = float(functional.cross_entropy(fusion(given), truth))
        waited = 0 if loss < best else waited + 1
        if loss < best:
            best = loss
            kept = {name: value.clone() for name, value in fusion.state_dict().items()}
        if waited >= PATIENCE:
            break
    fusion.load_state_dict(kept)
    return fusion


def fuse(
    views: NDArray[np.float32],
    fusion: ViewFusion,
    rule: Literal["learned", "sum", "majority"] = "learned",
) -> NDArray[np.float32]:
    """Combine the probabilities of the views.

    Args:
        views: (views, ...) probability of the labyrinth.
        fusion: weights of the views.
        rule: "learned", the softmax of the weighted sums; "sum", the mean; "majority", the fraction
            of the views whose own mask contains the voxel.

    Returns:
        (...) float32; above 0.5 if the labyrinth has the higher sum, or more than half of the
        views; equal votes count as background.
    """
    if rule == "majority":
        return (views > 0.5).mean(axis=0, dtype=np.float32)
    if rule == "sum":
        return views.mean(axis=0, dtype=np.float32)
    weights = fusion.weights.detach().cpu().numpy()
    bias = fusion.bias.detach().cpu().numpy()
    # With two classes only the difference matters: sum of w1 p + b1 - w0 (1 - p) - b0.
    constant = bias[1] - bias[0] - weights[:, 0].sum()
    ahead = np.tensordot(weights.sum(axis=1), views, axes=1) + constant
    return (1 / (1 + np.exp(-ahead))).astype(np.float32)


def _classes(labyrinth: torch.Tensor) -> torch.Tensor:
    """(n, views) to (n, views, 2): background and labyrinth."""
    return torch.stack((1 - labyrinth, labyrinth), dim=2)
