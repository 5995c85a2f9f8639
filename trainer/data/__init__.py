"""Data sets by name or of one's own, without torch: pixels or an event camera's recordings, and labels."""

from spikegraph.trainer.data.arrays import data_of_arrays
from spikegraph.trainer.data.augment import Augmentation, augmented
from spikegraph.trainer.data.noise import Noise, parse_noise
from spikegraph.trainer.data.sets import DATASETS, load_data, load_split
from spikegraph.trainer.data.split import DataSet, Part, Split

__all__ = [
    "DATASETS",
    "Augmentation",
    "DataSet",
    "Noise",
    "Part",
    "Split",
    "augmented",
    "data_of_arrays",
    "load_data",
    "load_split",
    "parse_noise",
]
