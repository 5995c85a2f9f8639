"""How a one-spike layer is wired: a convolution, of which a dense layer is the one with a single site."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input

LANES = 16  # output channels are padded to a multiple of it, so that the kernel adds whole vectors


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Shapes of a layer's input, output and weights.

    Parameters
    ----------
    channels, height, width : int
        Of the input; a dense layer of n inputs has n channels of 1 × 1.
    outputs : int
        Output channels.
    kernel_size, stride, padding : int
        Of a convolution, the same in both directions.
    """

    channels: int
    height: int = 1
    width: int = 1
    outputs: int
    kernel_size: int = 1
    stride: int = 1
    padding: int = 0

    @property
    def is_dense(self) -> bool:
        """Whether input and output have no rows and columns."""
        return self.height == self.width == self.kernel_size == 1 and not self.padding

    @property
    def n_in(self) -> int:
        """Number of input lines."""
        return self.channels * self.height * self.width

    @property
    def rows(self) -> int:
        """Height of the output."""
        return (self.height + 2 * self.padding - self.kernel_size) // self.stride + 1

    @property
    def columns(self) -> int:
        """Width of the output."""
        return (self.width + 2 * self.padding - self.kernel_size) // self.stride + 1

    @property
    def lanes(self) -> int:
        """Output channels with padding."""
        return -(-self.outputs // LANES) * LANES

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """Shape of the output: channels, height, width."""
        return self.outputs, self.rows, self.columns

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of the weights: (out, in, kernel, kernel)."""
        return self.outputs, self.channels, self.kernel_size, self.kernel_size

    def sum_inputs(self, s: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sum: (B, n_in), (out, in, kernel, kernel) → (B, out, rows, columns)."""
        if self.is_dense:
            return functional.linear(s.flatten(1), weight.reshape(self.outputs, -1)).reshape(len(s), *self.out_shape)
        image = s.reshape(len(s), self.channels, self.height, self.width)
        return functional.conv2d(image, weight, stride=self.stride, padding=self.padding)

    def sum_back(self, delta: Tensor, weight: Tensor) -> Tensor:
        """Return the transposed sum: (B, out, rows, columns), weights → (B, n_in)."""
        if self.is_dense:
            return delta.flatten(1) @ weight.reshape(self.outputs, -1)
        size = (len(delta), self.channels, self.height, self.width)
        back: Tensor = conv2d_input(size, weight, delta, stride=self.stride, padding=self.padding)  # type: ignore[no-untyped-call]
        return back.flatten(1)
