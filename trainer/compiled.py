"""A window of neurons on a CPU in one pass over memory: window.py's forward and backward, compiled (_window.c).

Every number is the one that window.py computes: the same operations in the same order, each rounded alike. Threads are
torch's own, as many as `torch.get_num_threads()`, where torch brings GNU OpenMP's entry (Linux); elsewhere one.
"""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from spikegraph.export.fixed import DECAY_ONE
from spikegraph.hwsim.kernel import structure
from spikegraph.trainer.dynamics import Decays, Dynamics, Gradients, Wanted, Window
from spikegraph.trainer.extension import load
from spikegraph.trainer.surrogate import SURROGATES

_RESETS = ("zero", "subtract", "none")  # as numbered in _window.c
_PARAMETERS = ("threshold", "bias", "kept_u", "kept_v")

_Window = structure(
    "_Window",
    "n_steps n_neurons integer backward reset refractory_steps max_spikes surrogate "
    "*threshold n_threshold *bias n_bias *kept_u n_kept_u *kept_v n_kept_v "
    "*x *s *v_before_reset *u *v *integrates "
    "*grad_s *grad_v *grad_x *grad_threshold *grad_bias *grad_kept_u *grad_kept_v "
    "*team n_threads next_block",
)


@cache
def library() -> ctypes.CDLL | None:
    """Load the compiled part; None, with one warning, where there is none: window.py computes the same, slower."""
    without = "training is several times slower: the compiled part of its neurons"
    return load("spikegraph.trainer._window", _Window, "sg_window_size", without=without)


@cache
def _team() -> int | None:
    """Return the address of the entry of the OpenMP that torch has loaded."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value
    except (AttributeError, TypeError):
        return None


def serves(x: Tensor, *parameters: int | Tensor) -> bool:
    """Tell whether the compiled part computes this window: float32 on a CPU, parameters the same for each sample."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    return all(_same_for_each_sample(p, x) for p in parameters if isinstance(p, Tensor)) and library() is not None


def _same_for_each_sample(parameter: Tensor, x: Tensor) -> bool:
    return parameter.ndim < x.ndim - 1 or (parameter.ndim == x.ndim - 1 and len(parameter) == 1)


def forward(
    x: Tensor,
    threshold: Tensor,
    bias: Tensor,
    decays: Decays,
    dynamics: Dynamics,
    *,
    integer: bool,
    keep_u: bool = False,
    keep_v: bool = False,
) -> Window:
    """Run a window; parameters as of `spikegraph.trainer.neurons.lif`, u and v float32 in integer windows too."""
    x = x.contiguous()
    kept = (DECAY_ONE - decays.decay_u, DECAY_ONE - decays.decay_v) if integer else (decays.kept_u, decays.kept_v)
    parameters = _parameters(x, threshold, bias, *kept)
    window = Window(
        s=torch.empty_like(x),
        v_before_reset=torch.empty_like(x),
        u=torch.empty(x.shape if keep_u else (0,)),
        v=torch.empty(x.shape if keep_v else (0,)),
        integrates=torch.empty(x.shape, dtype=torch.bool) if dynamics.pauses else torch.ones((), dtype=torch.bool),
    )
    _run(x, window, parameters, dynamics, integer, backward=False)
    return window


def backward(
    window: Window,
    threshold: Tensor,
    decays: Decays,
    dynamics: Dynamics,
    wanted: Wanted,
    grad_s: Tensor | None,
    grad_v: Tensor | None,
    *,
    integer: bool,
) -> Gradients:
    """Go back through a window; parameters as of `spikegraph.trainer.window.backward`."""
    each = window.s.shape[1:]
    gradients = Gradients(
        x=torch.empty_like(window.s),
        threshold=torch.empty(each) if wanted.threshold else None,
        bias=torch.empty(each) if wanted.bias else None,
        kept_u=torch.empty(each) if wanted.kept_u else None,
        kept_v=torch.empty(each) if wanted.kept_v else None,
    )
    read = {"grad_s": grad_s, "grad_v": grad_v}
    arrays = {name: grad.contiguous() for name, grad in read.items() if grad is not None}
    arrays |= {f"grad_{name}": grad for name, grad in vars(gradients).items() if grad is not None}
    parameters = _parameters(window.s, threshold, torch.zeros(()), decays.kept_u, decays.kept_v)
    _run(window.s, window, parameters, dynamics, integer, backward=True, **arrays)
    return gradients


def _parameters(x: Tensor, *values: int | Tensor) -> dict[str, Tensor]:
    """Return parameters as float32: one number, or one for each neuron of a sample."""
    tensors = [torch.as_tensor(value).detach().to(torch.float32) for value in values]
    shape = x.shape[2:]
    whole = [v.reshape(1) if v.numel() == 1 else v.expand(1, *shape).contiguous() for v in tensors]
    return dict(zip(_PARAMETERS, whole, strict=True))


def _run(
    x: Tensor,
    window: Window,
    parameters: dict[str, Tensor],
    dynamics: Dynamics,
    integer: bool,
    backward: bool,
    **gradients: Tensor,
) -> None:
    arrays = {"x": x, **vars(window), **parameters, **gradients}
    pointers = {name: array.data_ptr() for name, array in arrays.items() if array.ndim}  # () is what is not there
    described = _Window(
        n_steps=len(x),
        n_neurons=x.shape[1:].numel(),
        integer=integer,
        backward=backward,
        reset=_RESETS.index(dynamics.reset),
        refractory_steps=dynamics.refractory_steps,
        max_spikes=dynamics.max_spikes,
        surrogate=list(SURROGATES).index(dynamics.surrogate),
        **{f"n_{name}": parameter.numel() for name, parameter in parameters.items()},
        **pointers,
        team=_team(),
        n_threads=torch.get_num_threads(),
    )
    compiled = library()
    if compiled is None:
        raise RuntimeError("the compiled part is missing: ask `serves` first")
    compiled.sg_window_run(ctypes.byref(described))
