"""Break each rule of docs/semantics.md, and see the test that holds it fail.

A mutation replaces text in the source of the reference engine or of what it stands on; all of these modules are then
loaded anew, beside the real ones, and test_semantics.py with them. A test that still passes holds nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import CodeType, ModuleType

import pytest

import spikegraph.hwsim.simulate  # noqa: F401 - loaded here, once, so that it is never loaded over mutated modules

TESTS = Path(__file__).with_name("test_semantics.py")
# In the order in which they import each other.
MODULES = {
    name: f"spikegraph.{package}.{name}"
    for package, names in {
        "export": ("fixed", "connectivity", "coding", "graph", "float_graph", "order", "check", "passes"),
        "hwsim": ("program", "result", "reference"),
    }.items()
    for name in names
}


@cache
def source_of(name: str) -> str:
    path = TESTS if name == "tests" else Path(import_module(MODULES[name]).__file__ or "")
    return path.read_text(encoding="utf-8")


@cache
def code_of(name: str, source: str) -> CodeType:
    return compile(source, f"<mutated {name}>", "exec")


def load(changes: Iterable[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the modules anew with these changes (module, old text, new text); return test_semantics among them."""
    sources = {name: source_of(name) for name in (*MODULES, "tests")}
    for name, old, new in changes:
        assert sources[name].count(old) == 1, f"{name}: the mutation must fit in one place: {old}"
        sources[name] = sources[name].replace(old, new)
    for name, source in sources.items():
        full_name = MODULES.get(name, "mutated_test_semantics")
        module = ModuleType(full_name)
        monkeypatch.setitem(sys.modules, full_name, module)
        if name in MODULES:
            package, _, attribute = full_name.rpartition(".")
            monkeypatch.setattr(import_module(package), attribute, module, raising=False)
        exec(code_of(name, source), module.__dict__)  # noqa: S102 - our own source
    return module


def call(tests: ModuleType, name: str) -> None:
    test = getattr(tests, name)
    engine = sys.modules[MODULES["reference"]].run_reference  # the mutated one
    test(**({"engine": engine} if "engine" in signature(test).parameters else {}))


@dataclass(frozen=True)
class Mutation:
    rule_broken: str
    changes: tuple[tuple[str, str, str], ...]
    caught_by: tuple[str, ...]


MUTATIONS: list[Mutation] = []


def mutation(rule_broken: str, *changes: tuple[str, str, str], caught_by: str) -> None:
    MUTATIONS.append(Mutation(rule_broken, changes, tuple(f"test_{name}" for name in caught_by.split())))


# Texts that are replaced, in the order of a step.

ARRIVES = "arrives = t - p.projection.delay_steps\n"
S_SOURCE = "s_source = spikes[p.projection.source][arrives]\n"
WEIGHTED = "weighted = p.projection.weighted_sum(p.projection.weight, s_source, population.shape)\n"
ADDED = "x += fixed.shift(weighted, p.projection.weight_exp)\n"
U = "u = fixed.decay(state.u, population.decay_u) + (x << fixed.ALIGN_BITS)\n"
WRAP = "state.u = fixed.wrap24(u)\n"
V = "v = fixed.decay(state.v, population.decay_v) + state.u + population.bias\n"
HELD = "v_before_reset = np.where(integrates, fixed.saturate24(v), 0)\n"
FIRES = "s = v_before_reset > population.threshold\n"
AFTER = "state.v = v_after\n"
WINDOW = "            if not 0 <= step < n_steps:\n                continue\n"
DECAY = "return (product + (product < 0) * (DECAY_ONE - 1)) >> DECAY_BITS"
WRAP24 = "return STATE_HALF - ((STATE_HALF - y) & ((1 << STATE_BITS) - 1))"
SATURATE = 'return y.clip(-STATE_MAX, STATE_MAX) if hasattr(y, "clip")'

# One step

mutation("x << 5", ("reference", U, U.replace("fixed.ALIGN_BITS", "5")), caught_by="x_is_shifted_left_by_six")
mutation(
    "decay floors",
    ("fixed", DECAY, "return product >> DECAY_BITS"),
    caught_by="decay_u_rounds_toward_zero decay_v_rounds_toward_zero decay_reaches_zero_from_both_sides",
)
mutation(
    "decay rounds to nearest",
    ("fixed", DECAY, "return (product + (DECAY_ONE >> 1)) >> DECAY_BITS"),
    caught_by="decay_u_rounds_toward_zero decay_v_rounds_toward_zero decay_reaches_zero_from_both_sides",
)
mutation(
    "decay rounds up",
    ("fixed", DECAY, "return (product + DECAY_ONE - 1) >> DECAY_BITS"),
    caught_by="decay_u_rounds_toward_zero decay_v_rounds_toward_zero decay_reaches_zero_from_both_sides",
)
mutation(
    "the product of decay has 32 bits",
    ("fixed", "product = y * (DECAY_ONE - d)", "product = (y * (DECAY_ONE - d) + 2**31) % 2**32 - 2**31"),
    caught_by="decay_at_the_ends_of_the_state v_saturates_after_everything_is_added",
)
mutation(
    "decay in units of 1/4095",
    ("fixed", "product = y * (DECAY_ONE - d)", "product = y * (DECAY_ONE - 1 - d)"),
    caught_by="decay_u_4096_forgets_the_current_and_smaller_ones_keep_it decay_v_0_integrates_and_4096_forgets",
)
mutation(
    "u is decayed by decay_u + 1, as a register would have it",
    ("reference", U, U.replace("population.decay_u", "np.minimum(population.decay_u + 1, 4096)")),
    caught_by="decay_at_the_ends_of_the_state decay_u_4096_forgets_the_current_and_smaller_ones_keep_it",
)
mutation(
    "v integrates the u of the step before",
    ("reference", WRAP + " " * 12 + V, V + " " * 12 + WRAP),
    caught_by="v_sees_the_u_of_the_same_step",
)
mutation(
    "u decays after the input was added",
    ("reference", U, "u = fixed.decay(state.u + (x << fixed.ALIGN_BITS), population.decay_u)\n"),
    caught_by="u_decays_before_the_input_is_added",
)
mutation(
    "v decays after u was added",
    ("reference", V, "v = fixed.decay(state.v + state.u, population.decay_v) + population.bias\n"),
    caught_by="v_decays_before_u_and_bias_are_added",
)
mutation(
    "v decays after the bias was added",
    ("reference", V, "v = fixed.decay(state.v + population.bias, population.decay_v) + state.u\n"),
    caught_by="v_decays_before_u_and_bias_are_added",
)
mutation(
    "each weight is shifted",
    (
        "reference",
        WEIGHTED,
        WEIGHTED.replace("p.projection.weight,", "fixed.shift(p.projection.weight.astype(int), -1),"),
    ),
    ("reference", ADDED, "x += weighted\n"),
    caught_by="sum_is_shifted_not_each_weight",
)
mutation(
    "the negative shift rounds toward zero",
    ("fixed", "else y >> -exponent", "else (y + (y < 0) * ((1 << -exponent) - 1)) >> -exponent"),
    caught_by="negative_shift_floors each_projection_is_shifted_by_itself",
)
mutation(
    "the negative shift rounds to nearest",
    ("fixed", "else y >> -exponent", "else (y + (1 << -exponent - 1)) >> -exponent"),
    caught_by="negative_shift_floors",
)
mutation("no negative shift", ("fixed", "else y >> -exponent", "else y"), caught_by="negative_shift_floors")
mutation(
    "no positive shift", ("fixed", "return y << exponent if", "return y if"), caught_by="positive_shift_multiplies"
)
mutation(
    "the sum over projections is shifted",
    ("reference", ADDED, "x += weighted\n"),
    ("reference", U, f"x = fixed.shift(x, population.incoming[0].projection.weight_exp)\n{' ' * 12}{U}"),
    caught_by="each_projection_is_shifted_by_itself projections_of_different_exponents_add_up",
)
mutation(
    "the last projection wins",
    ("reference", ADDED, ADDED.replace("+=", "=")),
    caught_by="projections_of_different_exponents_add_up several_projections_from_one_source_add_up",
)
mutation(
    "v >= threshold fires",
    ("reference", FIRES, FIRES.replace(">", ">=")),
    caught_by="threshold_is_strict threshold_mantissa_is_shifted_by_six largest_threshold",
)
mutation(
    "the threshold is the mantissa",
    ("program", "threshold_mant << fixed.ALIGN_BITS", "threshold_mant"),
    caught_by="threshold_mantissa_is_shifted_by_six",
)
mutation(
    "the threshold mantissa has 16 bits",
    ("program", "threshold_mant << fixed.ALIGN_BITS", "(threshold_mant & 0xFFFF) << fixed.ALIGN_BITS"),
    caught_by="largest_threshold",
)
mutation(
    "the bias exponent is ignored",
    ("program", "bias_mant << bias_exp", "bias_mant"),
    caught_by="bias_is_shifted_by_its_exponent_only",
)
mutation(
    "the bias is aligned like x",
    ("program", "bias_mant << bias_exp", "bias_mant << bias_exp + fixed.ALIGN_BITS"),
    caught_by="bias_is_shifted_by_its_exponent_only",
)
mutation(
    "the bias goes into u",
    ("reference", U, U.replace("\n", " + population.bias\n")),
    ("reference", V, V.replace(" + population.bias", "")),
    caught_by="bias_goes_into_v_not_u",
)
mutation(
    "u wraps into [-2^23, 2^23)",
    ("fixed", WRAP24, "return ((y + STATE_HALF) & ((1 << STATE_BITS) - 1)) - STATE_HALF"),
    caught_by="u_wraps_into_its_24_bits decay_at_the_ends_of_the_state",
)
mutation(
    "u wraps once only",
    ("fixed", WRAP24, "return y - (y > STATE_HALF) * (1 << STATE_BITS) + (y <= -STATE_HALF) * (1 << STATE_BITS)"),
    caught_by="u_wraps_as_often_as_it_must",
)
mutation(
    "u saturates",
    ("reference", WRAP, WRAP.replace("wrap24", "saturate24")),
    caught_by="u_wraps_into_its_24_bits u_wraps_after_decay_and_input_together u_wraps_as_often_as_it_must",
)
mutation(
    "the input wraps instead of u",
    ("reference", U, U.replace("(x << fixed.ALIGN_BITS)", "fixed.wrap24(x << fixed.ALIGN_BITS)")),
    ("reference", WRAP, "state.u = u\n"),
    caught_by="u_wraps_after_decay_and_input_together",
)
mutation(
    "wraps are not counted where u = 2^23",
    ("reference", "_per_sample(state.u != u, 1)", "_per_sample(np.abs(u) > fixed.STATE_HALF, 1)"),
    caught_by="u_wraps_into_its_24_bits",
)
mutation(
    "v saturates at 2^23",
    ("fixed", "y.clip(-STATE_MAX, STATE_MAX)", "y.clip(-STATE_MAX, STATE_HALF)"),
    caught_by="v_saturates_at_both_ends",
)
mutation(
    "v saturates at -2^23",
    ("fixed", "y.clip(-STATE_MAX, STATE_MAX)", "y.clip(-STATE_HALF, STATE_MAX)"),
    caught_by="v_saturates_at_both_ends v_saturates_after_everything_is_added",
)
mutation(
    "v wraps",
    ("fixed", SATURATE, 'return wrap24(y) if hasattr(y, "clip")'),
    caught_by="v_saturates_at_both_ends v_saturates_after_everything_is_added",
)
mutation(
    "v saturates before the bias is added",
    ("reference", V, "v = fixed.saturate24(fixed.decay(state.v, population.decay_v) + state.u) + population.bias\n"),
    caught_by="v_saturates_after_everything_is_added",
)
mutation(
    "a v that stands at its end counts as a saturation",
    ("reference", "integrates & (v_before_reset != v)", "integrates & (np.abs(v_before_reset) == fixed.STATE_MAX)"),
    caught_by="saturations_are_counted_where_v_was_clipped",
)
mutation(
    "a spike takes a step",
    ("reference", ARRIVES, "arrives = t - p.projection.delay_steps - 1\n"),
    caught_by="spike_reaches_a_zero_delay_target_in_the_same_step delay_of_a_projection",
)
mutation(
    "populations are computed as written down",
    ("program", "for name in topological_order(graph)", "for name in graph.populations"),
    caught_by="spike_reaches_a_zero_delay_target_in_the_same_step delay_of_a_loop_of_two",
)
mutation(
    "all neurons share the first one's parameter",
    ("connectivity", "return np.broadcast_to(parameter, shape)", "return np.broadcast_to(parameter.flat[0], shape)"),
    caught_by="inputs_and_parameters_for_each_channel_and_neuron each_parameter_may_have_a_granularity_of_its_own",
)
for _parameter in ("decay_u", "decay_v", "threshold", "bias"):
    mutation(
        f"all neurons share the first one's {_parameter}",
        ("reference", f"population.{_parameter}", f"population.{_parameter}.flat[0]")
        if _parameter != "threshold"
        else ("reference", FIRES, FIRES.replace("threshold", "threshold.flat[0]")),
        caught_by="inputs_and_parameters_for_each_channel_and_neuron",
    )

# Reset, refractory period, spike limit

mutation(
    "zero does not reset",
    ("reference", "np.where(s, 0, v_before_reset)", "v_before_reset"),
    caught_by="reset_zero",
)
mutation(
    "subtract sets v to 0",
    (
        "reference",
        "np.where(s, v_before_reset - population.threshold, v_before_reset)",
        "np.where(s, 0, v_before_reset)",
    ),
    caught_by="reset_subtract refractory_loses_the_residue_of_subtract_and_none"
    " max_spikes_resets_as_reset_says_then_holds",
)
mutation(
    "none sets v to 0",
    ("reference", "v_after = v_before_reset\n", "v_after = np.where(s, 0, v_before_reset)\n"),
    caught_by="reset_none refractory_loses_the_residue_of_subtract_and_none",
)
mutation(
    "v before reset is recorded after it",
    ("reference", "v_before_reset=v_before_reset)", "v_before_reset=v_after)"),
    caught_by="reset_zero reset_subtract",
)
mutation(
    "reset clears u",
    ("reference", AFTER, AFTER + " " * 12 + "state.u = np.where(s, 0, state.u)\n"),
    caught_by="reset_leaves_u refractory_lets_u_go_on",
)
mutation(
    "the refractory period starts after the spike step",
    ("reference", "population.refractory_steps - 1,", "population.refractory_steps,"),
    caught_by="refractory_1_is_no_pause refractory_counts_the_spike_step"
    " refractory_holds_v_at_zero_and_integrates_nothing",
)
mutation(
    "v is held one step less",
    ("reference", "integrates = state.held == 0", "integrates = state.held <= 1"),
    caught_by="refractory_counts_the_spike_step refractory_holds_v_at_zero_and_integrates_nothing",
)
mutation(
    "v integrates through the refractory period, only spikes are kept back",
    ("reference", HELD, "v_before_reset = fixed.saturate24(v)\n"),
    ("reference", FIRES, "s = integrates & (v_before_reset > population.threshold)\n"),
    caught_by="refractory_holds_v_at_zero_and_integrates_nothing negative_potential_is_held_at_zero_too"
    " refractory_lets_u_go_on max_spikes_1_fires_once",
)
mutation(
    "v stays negative while it is held",
    ("reference", HELD, HELD.replace(", 0)", ", np.minimum(v, 0))")),
    caught_by="negative_potential_is_held_at_zero_too",
)
mutation(
    "v keeps its residue while it is held",
    ("reference", HELD, HELD.replace(", 0)", ", state.v)")),
    ("reference", FIRES, "s = integrates & (v_before_reset > population.threshold)\n"),
    caught_by="refractory_loses_the_residue_of_subtract_and_none max_spikes_resets_as_reset_says_then_holds",
)
mutation(
    "u is held as well",
    ("reference", WRAP, "state.u = np.where(state.held == 0, fixed.wrap24(u), 0)\n"),
    caught_by="refractory_lets_u_go_on max_spikes_1_fires_once",
)
mutation(
    "u gets no input while v is held",
    (
        "reference",
        WRAP,
        "u = np.where(state.held == 0, u, fixed.decay(state.u, population.decay_u))\n" + " " * 12 + WRAP,
    ),
    caught_by="refractory_lets_u_go_on max_spikes_1_fires_once",
)
mutation(
    "one spike more than the limit",
    ("reference", "state.n_spikes >= population.max_spikes", "state.n_spikes > population.max_spikes"),
    caught_by="max_spikes_1_fires_once max_spikes_2_fires_twice max_spikes_with_a_refractory_period",
)
mutation(
    "any limit is one spike",
    ("reference", "state.n_spikes >= population.max_spikes", "state.n_spikes >= 1"),
    caught_by="max_spikes_2_fires_twice max_spikes_with_a_refractory_period",
)
mutation(
    "the last spike resets to zero whatever the reset",
    ("reference", AFTER, "state.v = np.where((population.max_spikes > 0) & s, 0, v_after)\n"),
    caught_by="max_spikes_resets_as_reset_says_then_holds",
)
mutation(
    "no limit means no spike after the first",
    ("reference", "if population.max_spikes:", "if True:"),
    caught_by="max_spikes_0_is_no_limit refractory_1_is_no_pause",
)
mutation(
    "the limit is the population's",
    ("reference", "state.n_spikes += s\n", "state.n_spikes += s.any()\n"),
    caught_by="spike_limit_is_of_each_neuron",
)
mutation(
    "the pause is the population's",
    ("reference", "np.where(s, population.refractory_steps", "np.where(s.any(), population.refractory_steps"),
    caught_by="state_is_cleared_between_samples",
)

# Time and state

mutation(
    "delays end at 62",
    ("reference", ARRIVES, "arrives = t - min(p.projection.delay_steps, 4)\n"),
    caught_by="delay_of_a_projection",
)
mutation(
    "delays are ignored between populations",
    ("reference", ARRIVES, "arrives = t - min(p.projection.delay_steps, 1)\n"),
    caught_by="delay_of_a_self_loop delay_of_a_loop_of_two",
)
mutation(
    "recurrence takes a step more",
    ("reference", ARRIVES, "arrives = t - p.projection.delay_steps - (p.projection.source in states)\n"),
    caught_by="delay_of_a_self_loop delay_of_a_loop_of_two spike_reaches_a_zero_delay_target_in_the_same_step",
)
mutation(
    "delay lines wrap around",
    ("reference", "if arrives < 0:", "if arrives < -n_total:"),
    caught_by="delay_of_a_projection",
)
mutation(
    "spike counts of a batch are mixed up",
    ("reference", "state.n_spikes += s\n", "state.n_spikes += s.any(axis=0)\n"),
    caught_by="state_is_cleared_between_samples",
)
mutation(
    "samples run one after the other without clearing u",
    ("reference", U, f"state.u[1:] = np.where(t == 0, 64, state.u[1:])\n{' ' * 12}{U}"),
    caught_by="state_is_cleared_between_samples",
)
mutation(
    "state outlives a run",
    ("reference", "class _State:", "_KEPT = {}\n\n\nclass _State:"),
    (
        "reference",
        "{population.name: _State(population, n_samples) for",
        "{population.name: _KEPT.setdefault((population.name, n_samples), _State(population, n_samples)) for",
    ),
    caught_by="running_again_gives_the_same",
)
mutation(
    "outputs are not traced",
    ("reference", "{*record, *tapped}", "{*record}"),
    caught_by="outputs_are_traced_without_being_asked_for",
)
mutation(
    "what is recorded is the output only",
    ("reference", "{*record, *tapped}", "{*tapped}"),
    caught_by="outputs_are_traced_without_being_asked_for",
)
mutation(
    "start_step is ignored",
    ("reference", "step = t - population.start_step", "step = t"),
    caught_by="start_step_opens_a_window_of_its_own nothing_is_fired_after_the_window",
)
mutation(
    "a population computes before its start_step",
    ("reference", WINDOW, WINDOW.replace("not 0 <= step < n_steps", "step >= n_steps")),
    caught_by="start_step_opens_a_window_of_its_own a_population_starts_cleared_at_its_depth pipelined_with_bias",
)
mutation(
    "a population fires on after its window",
    (
        "reference",
        WINDOW,
        WINDOW.replace(
            "                continue\n",
            "                spikes[population.name][t] = (step >= n_steps) * spikes[population.name][t - 1]\n"
            "                continue\n",
        ),
    ),
    caught_by="nothing_is_fired_after_the_window",
)

# Inputs and projections

mutation(
    "a graded spike counts as one",
    (
        "reference",
        S_SOURCE,
        S_SOURCE.replace("]\n", "] != 0\n").replace("spikes", "1 * (spikes").replace("0\n", "0)\n"),
    ),
    caught_by="graded_input_carries_its_number",
)
mutation(
    "sums are made in float32",
    (
        "connectivity",
        "s.astype(np.float64) @ weight.astype(np.float64)",
        "s.astype(np.float32) @ weight.astype(np.float32)",
    ),
    caught_by="x_is_exact_however_large",
)
mutation(
    "x has 32 bits",
    ("reference", ADDED, ADDED + " " * 16 + "x = x.astype(np.int32).astype(np.int64)\n"),
    caught_by="x_is_exact_however_large",
)
mutation(
    "rows of a weight are presynaptic",
    (
        "connectivity",
        "_matmul(s.reshape(len(s), -1), weight.T)",
        "_matmul(s.reshape(len(s), -1), weight.reshape(weight.shape[::-1]))",
    ),
    caught_by="rows_of_a_weight_are_postsynaptic",
)
mutation(
    "dense flattens channels last",
    (
        "connectivity",
        "_matmul(s.reshape(len(s), -1), weight.T)",
        "_matmul(np.moveaxis(s, 1, -1).reshape(len(s), -1), weight.T)",
    ),
    caught_by="dense_flattens_in_c_order",
)
mutation(
    "convolution flips its kernel",
    ("connectivity", "weight[into, :, row, column].T", "weight[into, :, -1 - row, -1 - column].T"),
    caught_by="convolution_is_cross_correlation dilation_spreads_the_kernel",
)
mutation(
    "padding is ignored",
    ("connectivity", "tap * self.dilation[axis] - self.padding[axis]", "tap * self.dilation[axis]"),
    caught_by="convolution_is_cross_correlation",
)
mutation(
    "dilation is ignored",
    ("connectivity", "tap * self.dilation[axis] - self.padding[axis]", "tap - self.padding[axis]"),
    caught_by="dilation_spreads_the_kernel",
)
mutation(
    "every group reads the first channels",
    (
        "connectivity",
        "slice(group * per_in, (group + 1) * per_in),\n                )\n                patch",
        "slice(per_in),\n                )\n                patch",
    ),
    caught_by="groups_keep_channels_apart",
)
mutation(
    "pooling keeps the last of its window",
    ("connectivity", "x[target_slices] += s[source_slices]", "x[target_slices] = s[source_slices]"),
    caught_by="sum_pool_sums_its_window_channel_by_channel",
)
mutation(
    "pooling has no weight",
    ("connectivity", "np.asarray(x * weight.astype(_wide(weight)))", "x"),
    caught_by="sum_pool_sums_its_window_channel_by_channel",
)
mutation(
    "sparse rows follow the target",
    ("connectivity", "shape=(s[0].size, prod(target)))", "shape=(s[0].size, prod(target))).T"),
    caught_by="sparse_rows_follow_the_source",
)

# The clock of a chip

mutation(
    "populations are not cleared at their depth",
    ("passes", "start_step=depth[name]", "start_step=0"),
    caught_by="pipelined_with_bias pipelined_with_skips pipelined_with_recurrence pipelined_with_spike_limits",
)
mutation(
    "every projection gains one step",
    ("passes", "p.delay_steps + depth[p.target] - depth[p.source]", "p.delay_steps + 1"),
    caught_by="pipelined_with_skips pipelined_with_recurrence",
)
mutation(
    "depth is the shortest path",
    ("order", "depth[target] = max(depth[target], depth[source] + length)", "depth[target] = depth[source] + length"),
    caught_by="pipelined_with_skips",
)
mutation(
    "a recurrent projection gains a step",
    ("passes", "replace(p, delay_steps=delay_steps)", "replace(p, delay_steps=delay_steps + (p.source == p.target))"),
    caught_by="pipelined_with_recurrence",
)
mutation(
    "delays that a projection had are lost",
    ("passes", "p.delay_steps + depth[p.target] - depth[p.source]", "max(1, depth[p.target] - depth[p.source])"),
    caught_by="pipelined_with_skips",
)
mutation(
    "the window is n_steps from the start of the first population",
    ("reference", WINDOW, WINDOW.replace("step < n_steps", "step < n_steps - population.start_step")),
    caught_by="pipelined_with_bias pipelined_with_spike_limits start_step_opens_a_window_of_its_own",
)

# What is refused

mutation(
    "zero-delay loops are computed in any order",
    ("check", "loop = zero_delay_loop(graph)", "loop = None"),
    ("program", "for name in topological_order(graph)", "for name in graph.populations"),
    caught_by="zero_delay_loops_are_refused",
)
mutation(
    "a threshold of 0 is allowed",
    ("fixed", "THRESHOLD_MANT = IntegerFormat(minimum=1", "THRESHOLD_MANT = IntegerFormat(minimum=0"),
    caught_by="threshold_mantissa_0_is_refused",
)


def test_unbroken_all_tests_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the modules anew breaks nothing by itself."""
    tests = load([], monkeypatch)
    for name in vars(tests):
        if name.startswith("test_"):
            call(tests, name)


def test_every_test_of_the_semantics_is_bitten(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = {name for name in vars(load([], monkeypatch)) if name.startswith("test_")}
    caught = {name for m in MUTATIONS for name in m.caught_by}
    assert caught <= tests
    assert not tests - caught, "no mutation proves these tests"


@pytest.mark.parametrize("broken", MUTATIONS, ids=lambda m: m.rule_broken)
def test_bites(broken: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = load(broken.changes, monkeypatch)
    for name in broken.caught_by:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            call(tests, name)
