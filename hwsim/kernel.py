"""The compiled part: its structures, mirrored with ctypes, and the library itself."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import import_module

from spikegraph.export.errors import TargetError

LEVELS = ("baseline", "avx2", "avx512")  # vector instructions, as numbered in _kernel.h


def structure(name: str, fields: str) -> type[ctypes.Structure]:
    """Mirror a structure of _kernel.h: a field whose name starts with * is a pointer."""
    types = [(f.lstrip("*"), ctypes.c_void_p if f.startswith("*") else ctypes.c_int64) for f in fields.split()]
    return type(name, (ctypes.Structure,), {"_fields_": types})


Source = structure("Source", "n ring graded raster_type *raster *offsets *index *value spikes_slot")
Projection = structure(
    "Projection",
    "kind source delay exponent weight_bytes *weight row_stride target_stride *site *patches *rows_ptr *rows "
    "*runs_ptr *runs *row_begin *row_end *indices *fan_out *effective fan_out_each effective_each "
    "sops_slot effective_slot *tally_ptr *tally",
)
Population = structure(
    "Population",
    "n source start_step sum_bytes general exponent current may_hold biased each small_most unit_bits "
    "*keep_u *keep_v *threshold *bias keep_mask sub_mask pause max_spikes n_projections *projections "
    "active_slot wraps_slot saturations_slot *tally_ptr *tally n_runs *runs "
    "*trace_x *trace_u *trace_v *trace_before *trace_s",
)
Batch = structure(
    "Batch",
    "n_steps n_total n_samples n_sources n_populations n_slots level *sources *populations *counts "
    "next_sample cancel n_decides *decides",
)


@cache
def kernel() -> ctypes.CDLL:
    """Load the compiled part.

    Raises
    ------
    TargetError
        It was not built, or from another version of this package.
    """
    remedy = "build it: install a C compiler, then `pip install --force-reinstall --no-deps` this package again"
    try:
        path = import_module("spikegraph.hwsim._kernel").__file__
    except ImportError as error:
        raise TargetError("native engine", f"its compiled part is missing ({error})", remedy) from error
    library = ctypes.CDLL(str(path))
    library.sg_run.restype = library.sg_level.restype = ctypes.c_int64
    sizes = (ctypes.c_int64 * 4)()
    library.sg_sizes(sizes)
    if list(sizes) != [ctypes.sizeof(s) for s in (Source, Projection, Population, Batch)]:
        raise TargetError("native engine", f"its compiled part {path} is from another version", remedy)
    return library
