"""scikit-learn's 8 × 8 digits, which come inside the package, in a fixed split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikegraph.trainer.data.split import Part, Split


def load_digits(part: Part, _: Path | None) -> Split:
    """Load one part: 1,437 samples to train, 360 to test."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    images, labels = datasets.load_digits(return_X_y=True)
    x = (images / 16).reshape(-1, 1, 8, 8)
    x_train, x_test, y_train, y_test = train_test_split(x, labels, test_size=360, random_state=0, stratify=labels)
    x, label = (x_train, y_train) if part == "train" else (x_test, y_test)
    return Split(name=f"digits:{part}", x=np.asarray(x, np.float32), label=np.asarray(label, np.int64))
