"""The data of every network here: scikit-learn's 8 × 8 digits, coded as spikes with a fixed seed."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

N_STEPS = 20
N_TRAIN = 1347
FULL = 16  # the largest value of a pixel
SEED = 6


def split():
    """Return pixels (n, 64) of 0…16 and labels, for training and for testing."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(labels))
    pixels, labels = pixels[order].astype(np.uint8), labels[order]
    return (pixels[:N_TRAIN], labels[:N_TRAIN]), (pixels[N_TRAIN:], labels[N_TRAIN:])


def rate_coded(pixels, seed):
    """Return spikes (N_STEPS, n, 64): in every step one with probability pixel / 16."""
    draws = np.random.default_rng(seed).random((N_STEPS, *pixels.shape))
    return (draws < pixels / FULL).astype(np.uint8)
