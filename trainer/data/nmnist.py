"""N-MNIST, MNIST's digits before a moving event camera: a file for each recording, 5 bytes an event.

Source of the format: Orchard et al., Frontiers in Neuroscience 9, 2015, and the data set's page. Byte 0 is x, byte 1 is
y; the top bit of byte 2 is the polarity, and the 23 bits below it are the time in µs. Polarity 1 is channel 1.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError
from spikegraph.export.recordings import Recordings
from spikegraph.trainer.data.archive import SUFFIXES, read_members
from spikegraph.trainer.data.fetch import fetch
from spikegraph.trainer.data.split import Part, Split

SHAPE = (2, 34, 34)
_EVENT = 5
_MOST = 1 << 20  # bytes of a recording: of the first 1,000 the longest has 36 KB
_LIMIT = 2 << 30  # bytes of all of them: 60,000 of the mean length of the first 1,000 have 1.2 GB
_FOLDERS: dict[Part, str] = {"train": "Train", "test": "Test"}
_BASE = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/"
_FILES: dict[Part, tuple[str, str]] = {
    "train": (f"{_BASE}39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded", "20959b8e626244a1b502305a9e6e2031"),
    "test": (f"{_BASE}05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded", "69ca8762b2fe404d9b9bad1103e97832"),
}
_REMEDY = "name a folder with Train/0/….bin, Test/0/….bin and so on, or an archive (.zip, .tar.xz) of it"


def load_nmnist(part: Part, place: Path | None) -> Split:
    """Load one part: the recordings in the order of their numbers, which is MNIST's.

    Parameters
    ----------
    part : "train" or "test"
    place : Path, optional
        A folder with Train/<digit>/<number>.bin and Test/…, or with such archives (Train.zip, nmnist.tar.xz, …), or an
        archive; else it is fetched. It need not be complete.

    Raises
    ------
    DataError
        There are no recordings, one is damaged, or they cannot be fetched.
    """
    folder = _FOLDERS[part]
    if place is None:
        file = f"{folder}.zip"
        remedy = "put Train.zip and Test.zip into a folder and name it with --data (train) or --data-dir"
        place = fetch("nmnist", {file: _FILES[part]}, remedy)[file]
    found: dict[int, tuple[int, tuple[Array, Array]]] = {}
    where = _place(place, folder)
    inside = "" if where.is_dir() else rf"(?:.*/)?{folder}/"
    pattern = re.compile(rf"{inside}([0-9])/([0-9]{{1,9}})\.bin", re.IGNORECASE)
    for name, content in read_members(where, lambda name: bool(pattern.fullmatch(name)), most=_MOST, limit=_LIMIT):
        match = pattern.fullmatch(name)
        if match is None:
            continue
        digit, number = (int(group) for group in match.groups())
        if number in found:
            raise DataError(f"{where}: {name}", f"recording {number} is there twice", _REMEDY)
        found[number] = (digit, decode(content, f"{where}: {name}"))
    if not found:
        raise DataError(str(where), "holds no recording <digit>/<number>.bin", _REMEDY)
    in_order = [found[number] for number in sorted(found)]
    x = Recordings.joined([recording for _, recording in in_order], SHAPE)
    return Split(name=f"nmnist:{part}", x=x, label=np.array([digit for digit, _ in in_order], np.int64))


def decode(content: bytes, where: str) -> tuple[Array, Array]:
    """Return time in µs, int32, and neuron in C order of `SHAPE`, uint16, of each event of a recording.

    Raises
    ------
    DataError
        It is no whole number of events, or one lies outside the 34 × 34 pixels.
    """
    if len(content) % _EVENT:
        raise DataError(where, f"has {len(content)} bytes, which is no number of events of {_EVENT}", "fetch it again")
    x, y, high, middle, low = np.frombuffer(content, np.uint8).reshape(-1, _EVENT).T
    if len(content) and max(x.max(), y.max()) >= SHAPE[2]:
        what = f"has an event at x {x.max()}, y {y.max()} or so, beyond {SHAPE[1]} × {SHAPE[2]} pixels"
        raise DataError(where, what, "fetch it again")
    t = (high & np.int32(127)) << 16 | middle.astype(np.int32) << 8 | low
    index = (high >> 7) * np.uint16(SHAPE[1] * SHAPE[2]) + y * np.uint16(SHAPE[2]) + x
    return t, index


def _place(place: Path, folder: str) -> Path:
    """Return the folder that holds <digit>/<number>.bin, or the archive."""
    if place.is_file() and place.name.endswith(SUFFIXES):
        return place
    if not place.is_dir():
        raise DataError(str(place), "is no folder and no archive", _REMEDY)
    names = {path.name.lower(): path for path in place.iterdir()}
    packed = [stem + suffix for stem in (folder, "nmnist", "n-mnist", "nmnist-small") for suffix in SUFFIXES]
    found = [names[name.lower()] for name in (folder, *packed) if name.lower() in names]
    if not found:
        raise DataError(str(place), f"holds no {folder}/ and no archive of it", _REMEDY)
    return found[0]
