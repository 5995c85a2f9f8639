"""Noise for robustness curves: what a trained network has not seen, the same for the same seed and sample.

As in a rate code (export/coding.py), the random numbers are the 16-bit pieces of Philox words keyed by (seed, index of
the sample), so that a sample's noise does not depend on the batch that it is in. The top bit of the second key keeps
them apart from the coding's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError, OptionError
from spikegraph.export.recordings import Recordings

NoiseKind = Literal["salt", "gaussian", "delete", "insert"]
NOISES: tuple[NoiseKind, ...] = get_args(NoiseKind)
_ONE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Noise:
    """One kind of noise.

    - `salt`: salt and pepper: this share of the pixels becomes 0 or 1, either as likely.
    - `gaussian`: to each pixel a normal number with this standard deviation is added, then it is clipped to 0…1.
    - `delete`: each spike of the input is lost with this probability.
    - `insert`: each line that is silent in a step spikes, with 1, with this probability.

    Shares and probabilities are taken in units of 2^-16.

    Parameters
    ----------
    kind : "salt", "gaussian", "delete" or "insert"
    amount : float, 0…1
    seed : int, 0…2^64 - 1
    """

    kind: NoiseKind
    amount: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in NOISES:
            raise OptionError("--noise", f"{self.kind!r} is not known", f"choose one of {', '.join(NOISES)}")
        if not 0 <= self.amount <= 1:
            raise OptionError("--noise", f"{self} is outside 0…1", "choose an amount in that range")

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount:g}"

    @property
    def of_spikes(self) -> bool:
        """Whether it is noise of spikes, not of pixels."""
        return self.kind in ("delete", "insert")

    def on_samples(self, x: Array | Recordings, index: Array) -> Array | Recordings:
        """Return samples with noise, if it is one of pixels, else as they are.

        Parameters
        ----------
        x : ndarray of float32 (B, ...), 0…1, or Recordings
        index : ndarray of int (B,)
            Place of each sample in its data set.

        Raises
        ------
        DataError
            The noise is one of pixels, but there are none.
        """
        if self.of_spikes:
            return x
        if isinstance(x, Recordings):
            raise DataError("--noise", f"{self.kind} is for pixels, not for recordings", "use delete or insert")
        noisy = np.array(x, np.float32)
        for sample, i in zip(noisy, index, strict=True):
            random = self._numbers(int(i), sample.size).reshape(sample.shape)
            if self.kind == "salt":
                most = round(self.amount * _ONE)
                sample[random < most] = 0
                sample[random < most // 2] = 1
            else:
                from scipy.special import ndtri  # here: it takes a while to import

                normal = ndtri((random + 0.5) / _ONE).astype(np.float32)
                np.clip(sample + np.float32(self.amount) * normal, 0, 1, out=sample)
        return noisy

    def on_raster(self, raster: Array, index: Array) -> Array:
        """Return a raster with noise, if it is one of spikes, else as it is.

        Parameters
        ----------
        raster : ndarray of int (T, B, *shape)
        index : ndarray of int (B,)
            Place of each sample in its data set.
        """
        if not self.of_spikes:
            return raster
        noisy = raster.copy()
        for b, i in enumerate(index):
            sample = noisy[:, b]
            struck = self._numbers(int(i), sample.size).reshape(sample.shape) < round(self.amount * _ONE)
            if self.kind == "delete":
                sample[struck] = 0
            else:
                sample[struck & (sample == 0)] = 1
        return noisy

    def _numbers(self, index: int, n: int) -> Array:
        """Return n random numbers 0…65535 of a sample, int32."""
        key = np.array([self.seed, index | 1 << 63], np.uint64)
        words = np.random.Philox(key=key).random_raw(-(-n // 4)).astype("<u8", copy=False)
        return words.view("<u2")[:n].astype(np.int32)


def parse_noise(text: str, seed: int = 0) -> Noise:
    """Return the noise that is written as KIND:AMOUNT, such as "salt:0.1".

    Raises
    ------
    OptionError
        It is written otherwise, its kind is unknown or its amount is outside 0…1.
    """
    kind, _, amount = text.partition(":")
    try:
        return Noise(kind=kind, amount=float(amount), seed=seed)  # type: ignore[arg-type]
    except ValueError as error:
        raise OptionError("--noise", f"{text!r} is no KIND:AMOUNT", "write it as salt:0.1") from error
