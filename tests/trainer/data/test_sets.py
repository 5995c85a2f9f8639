"""Data sets by name: a fixed split, and one message for what is not known."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from spikegraph.export.errors import DataError, OptionError
from spikegraph.trainer.data import load_data, load_split


def test_digits_are_fixed():
    digits = load_data("digits")
    assert (len(digits.train), len(digits.test), digits.n_classes) == (1437, 360, 10)
    assert digits.train.x.shape == (1437, 1, 8, 8)
    assert (digits.train.x.dtype, digits.train.label.dtype) == (np.float32, np.int64)
    assert (digits.train.x.min(), digits.train.x.max()) == (0, 1)
    sums = [
        hashlib.sha256(array.tobytes()).hexdigest()[:16]
        for split in (digits.train, digits.test)
        for array in (split.x, split.label)
    ]
    assert sums == ["42529fb6a655e9c0", "c1281028e5251b91", "53d6a8c3d406e86d", "4493b2052e7b4258"]


def test_digits_overlap_nowhere():
    digits = load_data("digits")
    train, test = ({image.tobytes() for image in split.x} for split in (digits.train, digits.test))
    assert not train & test


def test_unknown_data_set():
    with pytest.raises(DataError, match=r"data set 'cifar': is not known; choose one of digits, mnist, fashion-mnist"):
        load_data("cifar")


def test_split_by_name():
    assert load_split("digits:train").name == "digits:train"
    assert load_split("digits:test").name == load_split("digits").name == "digits:test"
    with pytest.raises(OptionError, match=r"'dev' is no split of digits; use digits:train or digits:test"):
        load_split("digits:dev")
    with pytest.raises(DataError, match="'cifar'"):
        load_split("cifar:test")
