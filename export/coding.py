"""From numbers to input spikes, and from output spikes to a decision.

Both are part of a graph, so that whoever runs it needs nothing else. Arrays of pixels are float32 in 0…1. Rate coding
draws its random numbers from a counter-based generator (Philox) keyed by (seed, index of the sample): a sample's spikes
do not depend on the batch it is in, nor on which machine runs it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from spikegraph.export.connectivity import ADDED, Array
from spikegraph.export.errors import OptionError
from spikegraph.export.events import Events
from spikegraph.export.fixed import IntegerFormat
from spikegraph.export.recordings import Recordings

CodingKind = Literal["rate", "direct", "first_spike", "events"]
ReadoutKind = Literal["count", "membrane", "first_spike"]
CODINGS: tuple[CodingKind, ...] = get_args(CodingKind)
READOUTS: tuple[ReadoutKind, ...] = get_args(ReadoutKind)
SEED = IntegerFormat(minimum=0, maximum=(1 << 64) - 1)
READOUT_WEIGHT = IntegerFormat(minimum=1, maximum=(1 << 15) - 1)
STEP_US = IntegerFormat(minimum=0, maximum=(1 << 31) - 1)
_ONE = 1 << 16


def _bernoulli(x: Array, index: int, n_steps: int, seed: int, out: Array) -> None:
    # Raw Philox words are the same in every NumPy release; its float methods are not promised to be.
    n_words = -(-n_steps * x.size // 4)
    words = np.random.Philox(key=np.array([seed, index], np.uint64)).random_raw(n_words)
    uniform = words.astype("<u8", copy=False).view("<u2")[: n_steps * x.size].reshape(n_steps, *x.shape)
    chance = np.rint(x * _ONE).astype(np.uint32)
    # Below a chance of 0…65536 is up to one less, in 16 bits, unless the chance is 0.
    np.less_equal(uniform, (chance - 1).astype(np.uint16), out=out)
    np.logical_and(out, chance > 0, out=out)


@dataclass(frozen=True, kw_only=True)
class InputCoding:
    """How pixels, or an event camera's recordings, become spikes.

    - `rate`: in every step a spike with probability x (Bernoulli, in units of 2^-16).
    - `direct`: in every step the integer round(x · max_value), a graded spike.
    - `first_spike`: one spike at step round((1 - x)(n_steps - 1)); x = 0 stays silent.
    - `events`: in every step the number of a recording's events, at most max_value (see `Recordings.steps`).

    Parameters
    ----------
    kind : "rate", "direct", "first_spike" or "events"
    seed : int, 0…2^64 - 1
        For `rate`.
    max_value : int
        For `direct`: the integer that stands for x = 1. For `events`: the most that a spike carries.
    step_us : int
        For `events`: length of a step in µs; 0 divides each recording into n_steps of equal length.
    """

    kind: CodingKind
    seed: int = 0
    max_value: int = 1
    step_us: int = field(default=0, metadata=ADDED)

    @property
    def largest(self) -> int:
        """The largest integer that a spike carries."""
        return self.max_value if self.kind in ("direct", "events") else 1

    def encode(self, x: Array | Recordings, index: Array, n_steps: int) -> Array:
        """Turn samples into an integer raster.

        Parameters
        ----------
        x : ndarray of float32 (B, *shape), values 0…1; for `events` Recordings of that shape
        index : ndarray of int (B,)
            Index of each sample in its data set; with the seed it fixes the random numbers.
        n_steps : int

        Returns
        -------
        ndarray of uint8 or int16 (T, B, *shape)

        Raises
        ------
        OptionError
            A value is not finite or lies outside 0…1; recordings are given to a code of pixels, or pixels to `events`.
        """
        if isinstance(x, Recordings) or self.kind == "events":
            return self._recordings(x).raster(n_steps, self.step_us, self.max_value)
        x = _checked(x)
        if self.kind == "rate":
            spikes = np.empty((n_steps, *x.shape), bool)
            for b, i in enumerate(index):
                _bernoulli(x[b], int(i), n_steps, self.seed, out=spikes[:, b])
            return spikes.view(np.uint8)
        if self.kind == "direct":
            values = np.rint(x * self.max_value).astype(np.int16)
            return np.broadcast_to(values, (n_steps, *x.shape)).copy()
        return np.asarray(np.arange(n_steps).reshape(-1, *[1] * x.ndim) == _fires_at(x, n_steps), np.uint8)

    def _recordings(self, x: Array | Recordings) -> Recordings:
        if self.kind != "events":
            remedy = 'choose a data set of pixels, or train with [coding] kind = "events"'
            raise OptionError("input", f"is of recordings, but the coding is {self.kind}, of pixels", remedy)
        if not isinstance(x, Recordings):
            remedy = "choose an event set, such as nmnist"
            raise OptionError("input", "is of pixels, but the coding is events, of recordings", remedy)
        return x

    def fires_at(self, x: Array, n_steps: int) -> Array:
        """Return the step of each line's spike, n_steps for none: unsigned integers (B, *shape).

        Raises
        ------
        OptionError
            As for `encode`, or the coding is not `first_spike`.
        """
        if self.kind != "first_spike":
            raise OptionError("coding", f"kind = {self.kind!r} spikes more than once", "use first_spike")
        return _fires_at(_checked(x), n_steps)

    def spikes(self, x: Array | Recordings, index: Array, n_steps: int) -> Array | Events:
        """Turn samples into what is made and run fastest: events if there are few of them, else a raster.

        Parameters, Raises
            As for `encode`.

        Returns
        -------
        ndarray of uint8 or int16 (T, B, *shape), or the same spikes as Events
        """
        if isinstance(x, Recordings) or self.kind == "events":
            return self._recordings(x).events(n_steps, self.step_us, self.max_value)
        if self.kind != "first_spike":
            return self.encode(x, index, n_steps)
        x = _checked(x)
        fires_at = _fires_at(x, n_steps).reshape(len(x), -1)
        # A stable sort leaves the lines of one step in their order; those of silent lines, n_steps, come last.
        line = fires_at.argsort(axis=1, kind="stable")
        place = np.arange(len(x))[:, None] * (n_steps + 1) + fires_at
        counts = np.bincount(place.ravel(), minlength=len(x) * (n_steps + 1)).reshape(len(x), n_steps + 1)
        spiking = np.arange(line.shape[1]) < line.shape[1] - counts[:, -1:]
        offsets = np.concatenate([[0], counts[:, :-1].cumsum()])
        return Events(shape=x.shape[1:], n_steps=n_steps, offsets=offsets, index=line[spiking])


def _checked(x: Array) -> Array:
    x = np.asarray(x, np.float32)
    if x.size and not (np.isfinite(x).all() and 0 <= x.min() and x.max() <= 1):
        raise OptionError("input", "holds values outside 0…1 (or NaN)", "scale the data to 0…1 first")
    return x


def _fires_at(x: Array, n_steps: int) -> Array:
    """Return the step of each line's one spike; n_steps for none."""
    step = np.rint((1 - x) * (n_steps - 1))
    step[x == 0] = n_steps
    return np.asarray(step, np.uint16 if n_steps < 1 << 16 else np.int64)  # two bytes are sorted by counting


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a readout decided, for B samples.

    Parameters
    ----------
    predicted : ndarray of int64 (B,)
        The class; where nothing was decided the lowest index among the best, for information only.
    decided : ndarray of bool (B,)
        False where the output stayed silent or a tie could not be broken: counted as wrong, whatever the label.
    step : ndarray of int64 (B,)
        The step in which the decision stood, 0…n_steps - 1, without pipeline depth.
    """

    predicted: Array
    decided: Array
    step: Array

    def correct(self, label: Array) -> Array:
        """Tell for each sample whether it was decided, and rightly."""
        return np.asarray(self.decided & (self.predicted == label))


def _best(criteria: Sequence[Array]) -> tuple[Array, Array]:
    """Index of the largest by the first of `criteria`, ties by the next, then the lower index; and whether unique."""
    among = np.ones(criteria[0].shape, bool)
    for criterion in criteria:
        masked = np.where(among, criterion, -np.inf)  # float64 holds every v, and sum of some, exactly
        among = masked == masked.max(axis=1, keepdims=True)
    return among.argmax(axis=1), among.sum(axis=1) == 1


@dataclass(frozen=True, kw_only=True)
class Readout:
    """How the spikes or potentials of one output, or of several together, become a class.

    Neuron i of an output stands for class i // m, where m is its number of neurons per class. A class has

    - `count`: its spikes over the window, those of each output times its weight; decided in the last step.
    - `membrane`: the sum of its neurons' v in the last step, of one output; decided in the last step.
    - `first_spike`: its spikes, weighted so, in the first step in which any neuron of the outputs fires; decided there.

    The class that has the most is decided for. Ties go to the larger sum of the neurons' membrane potentials (before
    reset, in the step of the decision) in the first output, then in the second and so on, then to the lower index; a
    tie that no potential breaks, and silence, count as wrong.

    Parameters
    ----------
    kind : "count", "membrane" or "first_spike"
    output : str
        Name of the output that is read.
    neurons_per_class : int, at least 1
        Of that output; so it says how many classes there are.
    joined : tuple of str
        Further outputs that decide together with it, each with a multiple of as many neurons as there are classes.
    weights : tuple of int, 1…32767
        One for each output, `output` first; without them all count alike.
    """

    kind: ReadoutKind
    output: str
    neurons_per_class: int = field(default=1, metadata=ADDED)
    joined: tuple[str, ...] = field(default=(), metadata=ADDED)
    weights: tuple[int, ...] = field(default=(), metadata=ADDED)

    def __post_init__(self) -> None:
        object.__setattr__(self, "joined", tuple(self.joined))
        object.__setattr__(self, "weights", tuple(operator.index(weight) for weight in self.weights))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all outputs that are read."""
        return (self.output, *self.joined)

    def decide(self, s: Array | Sequence[Array], v: Array | Sequence[Array]) -> Decision:
        """Decide from the spikes and potentials of the output populations.

        Parameters
        ----------
        s : ndarray of bool (T, B, N), or one for each of `outputs`
        v : ndarray of int64 or float (T, B, N), or one for each of `outputs`
            Membrane potential before the reset of the step.
        """
        spikes, potentials = ([a] if isinstance(a, np.ndarray) else list(a) for a in (s, v))
        n_steps, n_samples, n_neurons = spikes[0].shape
        step, rows = np.full(n_samples, n_steps - 1), np.arange(n_samples)
        n_classes = n_neurons // self.neurons_per_class
        weights = self.weights or (1,) * len(spikes)

        def of_classes(each: Array) -> Array:
            by_class = each.reshape(n_samples, n_classes, each.shape[1] // n_classes)
            return np.asarray(by_class.sum(axis=2, dtype=np.float64 if each.dtype.kind == "f" else np.int64))

        def joint(values: Iterable[Array]) -> Array:
            weighted = [w * of_classes(each) for w, each in zip(weights, values, strict=True)]
            return np.asarray(np.sum(weighted, axis=0))

        if self.kind == "membrane":
            predicted, unique = _best([of_classes(potentials[0][-1])])
            return Decision(predicted=predicted, decided=unique, step=step)
        if self.kind == "count":
            score = joint(one.sum(axis=0, dtype=np.int64) for one in spikes)
        else:
            fired = np.any([one.any(axis=2) for one in spikes], axis=0)
            step = np.where(fired.any(axis=0), fired.argmax(axis=0), step)
            score = joint(one[step, rows] for one in spikes)
        predicted, unique = _best([score, *(of_classes(one[step, rows]) for one in potentials)])
        return Decision(predicted=predicted, decided=unique & (score.max(axis=1) > 0), step=step)
