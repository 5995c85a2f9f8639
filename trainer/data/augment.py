"""Augmentation: training samples are moved, turned and covered at random, the same way for the same generator.

Each change is made of a whole batch at once. What comes from outside a picture is black, or no event.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError
from spikegraph.export.recordings import Recordings


class Augmentation(BaseModel):
    """What is done to training samples; 0 and false do nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shift: int = Field(default=0, ge=0, le=64, description="random shift of up to so many pixels in both directions")
    flip: bool = Field(default=False, description="mirror left to right, with probability 1/2")
    rotate: float = Field(default=0.0, ge=0, le=180, description="turn by up to so many degrees")
    scale: float = Field(default=0.0, ge=0, le=0.5, description="enlarge or shrink by up to this share")
    erase: int = Field(default=0, ge=0, le=256, description="set a square with a side of so many pixels to 0")
    drop: float = Field(default=0.0, ge=0, lt=1, description="leave out up to this share of a recording's events")


def augmented(x: Array | Recordings, how: Augmentation, random: np.random.Generator) -> Array | Recordings:
    """Return a batch of training samples as `how` says; what is not asked for draws no random numbers.

    Parameters
    ----------
    x : ndarray of float32 (B, c, h, w), or Recordings of that shape
    how : Augmentation
    random : Generator

    Raises
    ------
    DataError
        The samples have no height and width, or are of the kind (pixels, recordings) that cannot be changed so.
    """
    if not any(getattr(how, name) for name in Augmentation.model_fields):
        return x
    if isinstance(x, Recordings):
        return _events(x, how, random)
    _refuse(how.drop, "drop", "pixels")
    _require_picture(x.shape, how)
    if how.shift:
        x = _shifted(x, how.shift, random)
    if how.flip:
        x = np.where((random.random(len(x)) < 0.5)[:, None, None, None], x[..., ::-1], x)
    if how.rotate or how.scale:
        x = _turned(x, how.rotate, how.scale, random)
    if how.erase:
        x = _erased(x, how.erase, random)
    return x


def _refuse(value: float, name: str, kind: str) -> None:
    if value:
        raise DataError("augmentation", f"{name} = {value:g} is not for {kind}", f"leave out {name}")


def _require_picture(shape: tuple[int, ...], how: Augmentation) -> None:
    if len(shape) != 4:
        what = f"samples of shape {shape[1:]} have no height and width"
        raise DataError("augmentation", what, "leave it out, or give the samples as (c, h, w)")
    for name in ("shift", "erase"):
        if getattr(how, name) >= max(shape[2:]):
            what = f"{name} = {getattr(how, name)} can leave nothing of pictures of {shape[2]} x {shape[3]}"
            raise DataError("augmentation", what, "choose a smaller one")


def _shifted(x: Array, most: int, random: np.random.Generator) -> Array:
    """Shift each image (B, c, h, w) by up to `most` pixels in both directions, filling with 0."""
    offsets = random.integers(0, 2 * most + 1, (2, len(x)))
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (most, most), (most, most)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    return np.ascontiguousarray(windows[np.arange(len(x)), :, offsets[0], offsets[1]])


def _turned(x: Array, most_degrees: float, most_scale: float, random: np.random.Generator) -> Array:
    """Turn and scale each image (B, c, h, w) about its middle; what lies between pixels is interpolated."""
    n, _, height, width = x.shape
    angle = np.deg2rad(random.uniform(-most_degrees, most_degrees, n))
    size = random.uniform(1 - most_scale, 1 + most_scale, n)
    cos, sin = (np.asarray(f(angle) / size, np.float32)[:, None, None] for f in (np.cos, np.sin))
    middle_y, middle_x = np.float32((height - 1) / 2), np.float32((width - 1) / 2)
    y, across = np.arange(height, dtype=np.float32)[:, None] - middle_y, np.arange(width, dtype=np.float32) - middle_x
    # Where each new pixel (B, h, w) comes from, in a picture with black all round: there is what comes from outside.
    from_y = np.clip(cos * y + sin * across + (middle_y + 1), 0, height + 1)
    from_x = np.clip(cos * across - sin * y + (middle_x + 1), 0, width + 1)
    row, column = from_y.astype(np.intp), from_x.astype(np.intp)
    part_y, part_x = from_y - row.astype(np.float32), from_x - column.astype(np.float32)
    stride = width + 3
    place = (np.arange(n)[:, None, None] * (height + 3) + row) * stride + column
    turned = np.empty_like(x)
    for channel in range(x.shape[1]):
        pixels = np.pad(x[:, channel], ((0, 0), (1, 2), (1, 2))).ravel()
        upper, lower = (_between(pixels[place + step], pixels[place + (step + 1)], part_x) for step in (0, stride))
        np.clip(_between(upper, lower, part_y), 0, 1, out=turned[:, channel])  # rounding may lead beyond by a bit
    return turned


def _between(a: Array, b: Array, part: Array) -> Array:
    """Return what lies between a and b; b is overwritten."""
    b -= a
    b *= part
    b += a
    return b


def _erased(x: Array, side: int, random: np.random.Generator) -> Array:
    """Set a square of each image (B, c, h, w) to 0; its middle lies anywhere, so it may stick out."""
    first = [random.integers(0, size, len(x)) - side // 2 for size in x.shape[2:]]
    rows, columns = (
        (np.arange(size) >= start[:, None]) & (np.arange(size) < start[:, None] + side)
        for size, start in zip(x.shape[2:], first, strict=True)
    )
    return np.where((rows[:, :, None] & columns[:, None, :])[:, None], np.float32(0), x)


def _events(x: Recordings, how: Augmentation, random: np.random.Generator) -> Recordings:
    for name in ("rotate", "scale", "erase"):
        _refuse(getattr(how, name), name, "recordings")
    if how.shift or how.flip:
        _require_picture(x.shape, how)
        x = _moved(x, how, random)
    if how.drop:
        share = random.uniform(0, how.drop, len(x))
        x = x.kept(random.random(x.t.size) >= share[x.sample])
    return x


def _moved(x: Recordings, how: Augmentation, random: np.random.Generator) -> Recordings:
    _, height, width = x.sample_shape
    channel, row, column = np.unravel_index(x.index, x.sample_shape)
    sample = x.sample
    if how.shift:
        by_row, by_column = random.integers(-how.shift, how.shift + 1, (2, len(x)))
        row, column = row + by_row[sample], column + by_column[sample]
    if how.flip:
        column = np.where((random.random(len(x)) < 0.5)[sample], width - 1 - column, column)
    keep = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return x.kept(keep, (channel * height + row) * width + column)
