"""What a chip would pay, a second time: loop by loop from docs/cost.md and docs/semantics.md, against spikegraph's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np
from graph_strategies import Case, cases, graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export.chips import Packing, load_chip
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import GraphError
from spikegraph.export.graph import Conv2d, Dense, Graph, OneToOne, Population, Sparse, SumPool2d
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.core_counts import CoreCounts
from spikegraph.hwsim.cost import cost_of
from spikegraph.hwsim.counts import UNTIL, Counts
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.packing import Demand
from spikegraph.hwsim.placement import Placement, place
from spikegraph.hwsim.profile import CostProfile, load_profile
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.result import BatchResult, Trace
from spikegraph.hwsim.run import Run
from spikegraph.hwsim.tally import CORE_QUANTITIES, kind_of, tally_of
from spikegraph.hwsim.timing import timing_of

QUANTITIES = tuple(CORE_QUANTITIES)
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
Projection = Dense | Conv2d | SumPool2d | Sparse | OneToOne


def synapses(graph: Graph, p: Projection) -> Iterator[tuple[int, int, int]]:
    """Yield every stored synapse: source neuron, target neuron, place of its weight among the stored ones."""
    source, target = graph.shape_of(p.source), graph.shape_of(p.target)
    n_source, n_target = int(np.prod(source)), int(np.prod(target))
    if isinstance(p, Dense):
        yield from ((j, i, i * n_source + j) for j in range(n_source) for i in range(n_target))
    elif isinstance(p, Sparse):
        for j in range(n_source):
            yield from ((j, int(p.indices[k]), k) for k in range(p.indptr[j], p.indptr[j + 1]))
    elif isinstance(p, OneToOne):
        yield from ((j, j, j) for j in range(n_source))
    else:
        yield from window_synapses(p, source, target)


def window_synapses(p: Conv2d | SumPool2d, source: Shape, target: Shape) -> Iterator[tuple[int, int, int]]:
    """Yield the synapses of a convolution or a pool; a pool has one weight."""
    pool = isinstance(p, SumPool2d)
    kernel = np.broadcast_to(p.kernel_size or 1, 2) if isinstance(p, SumPool2d) else p.weight.shape[2:]
    dilation = (1, 1) if isinstance(p, SumPool2d) else p.dilation
    groups = source[0] if isinstance(p, SumPool2d) else p.groups
    stride, padding, spacing = (np.broadcast_to(n, 2).tolist() for n in (p.stride, p.padding, dilation))
    for o, y, x in np.ndindex(*target):
        for i in range(source[0] // groups):
            channel = o // (target[0] // groups) * (source[0] // groups) + i
            for r, c in np.ndindex(*kernel):
                row = y * stride[0] + r * spacing[0] - padding[0]
                column = x * stride[1] + c * spacing[1] - padding[1]
                if 0 <= row < source[1] and 0 <= column < source[2]:
                    tap = 0 if pool else int(np.ravel_multi_index((o, i, r, c), p.weight.shape))
                    at = (channel * source[1] + row) * source[2] + column
                    yield at, (o * target[1] + y) * target[2] + x, tap


# Packing


def narrowest_weight(weights: list[int], packing: Packing) -> int:
    for bits in packing.weight_bits:
        if all(w % 2 ** (8 + packing.sign_bits - bits) == 0 for w in weights):
            return bits
    return packing.weight_bits[-1]


def list_bits(n: int, bits: int, packing: Packing) -> int:
    total = 0
    while n > 0:
        block = min(n, packing.synapses_per_block)
        words = -(-(packing.header_bits + block * bits) // packing.word_bits)
        total += words * packing.word_bits
        n -= block
    return total


def naive_loads(
    graph: Graph, population: str, order: list[int], groups: list[int], packing: Packing
) -> list[dict[str, int]]:
    """What each group takes; `order` lists neurons as they are cut, `groups` their groups."""
    group_of = dict(zip(order, groups, strict=True))
    rank: dict[int, int] = {}  # the place of a neuron in its core
    for neuron in order:
        rank[neuron] = sum(group_of[other] == group_of[neuron] for other in rank)
    loads = []
    for group in sorted(set(groups)):
        bits = 0
        axons: set[tuple[str, str, int]] = set()
        sources: set[tuple[str, int]] = set()
        for p in graph.projections.values():
            if p.target != population:
                continue
            windowed = isinstance(p, (Conv2d, SumPool2d))
            lists: dict[int, list[tuple[int, int]]] = defaultdict(list)
            for source, target, tap in synapses(graph, p):
                if group_of[target] == group:
                    lists[source].append((rank[target], tap))
            width = narrowest_weight(p.weight.reshape(-1).tolist(), packing)
            delay = packing.delay_bits if p.delay_steps > 1 else 0
            stored: set[tuple[tuple[int, int], ...]] = set()
            for source, entries in lists.items():
                entries.sort()
                places = [place for place, _ in entries]
                sources.add((p.source, source))
                n_pixels = int(np.prod(graph.shape_of(p.source)[1:]))
                axons.add((p.source, "pixel", source % n_pixels) if windowed else (p.source, "neuron", source))
                base = places[0] if windowed else 0
                n_values = places[-1] - base + 1
                index = 0 if isinstance(p, Dense) else min(b for b in packing.index_bits if 2**b >= n_values)
                shape = tuple((place - places[0], tap) for place, tap in entries)
                if windowed and shape in stored:
                    continue
                stored.add(shape)
                bits += list_bits(len(entries), width + index + delay, packing)
        members = [n for n in order if group_of[n] == group]
        node = graph.populations[population]

        def value(name: str, neuron: int, node: Population = node) -> int:
            array = np.asarray(getattr(node, name))
            shape = array.shape + (1,) * (len(node.shape) - array.ndim)
            return int(np.broadcast_to(array.reshape(shape), node.shape).reshape(-1)[neuron])

        loads.append(
            {
                "neurons": len(members),
                "synapse_bits": bits,
                "sources": len(sources),
                "axons_in": len(axons),
                "decay_profiles": len({(value("decay_u", n), value("decay_v", n)) for n in members}),
                "threshold_profiles": len({value("threshold_mant", n) for n in members}),
            }
        )
    return loads


@settings(relaxed, max_examples=100)
@given(graph=graphs(), seed=st.integers(0, 2**32), chip=st.sampled_from(["loihi1", "loihi2"]), data=st.data())
def test_packing(graph: Graph, seed: int, chip: str, data: st.DataObject) -> None:
    try:
        graph = pipelined(graph)
    except GraphError:
        return  # a loop too short for a chip
    core = load_chip(chip).core
    assert core is not None
    name = data.draw(st.sampled_from(sorted(graph.populations)))
    n = graph.populations[name].n
    order = np.random.default_rng(seed).permutation(n) if data.draw(st.booleans()) else np.arange(n)
    n_groups = data.draw(st.integers(1, min(n, 4)))
    demand = Demand(graph, name, order, core.packing)
    groups = demand.groups(n_groups)
    found = demand.loads(n_groups)
    expected = naive_loads(graph, name, order.tolist(), groups.tolist(), core.packing)
    for resource in expected[0]:
        assert found[resource].tolist() == [load[resource] for load in expected], resource


# Placement


@settings(relaxed, max_examples=60)
@given(graph=graphs(), neurons=st.sampled_from([1, 2, 8192]))
def test_placement(graph: Graph, neurons: int) -> None:
    """Who sends to whom, and how many entries that takes, on cores of a Loihi 2 that hold few neurons."""
    chip = load_chip("loihi2")
    assert chip.core is not None
    few = chip.core.model_copy(update={"neurons": chip.core.neurons.model_copy(update={"maximum": neurons})})
    try:
        placement = place(graph, chip.model_copy(update={"core": few}))
    except GraphError:
        return  # not legal there
    traffic, entries = np.zeros_like(placement.traffic), [0] * placement.n_cores
    for name in graph.populations:
        reached: set[tuple[int, int]] = set()  # neuron, core
        for p in graph.projections.values():
            if p.source == name:
                reached |= {
                    (source, int(placement.core_of[p.target][target])) for source, target, _ in synapses(graph, p)
                }
        for neuron, core in reached:
            here = int(placement.core_of[name][neuron])
            traffic[here, core] += 1
            entries[here] += 1
    assert np.array_equal(placement.traffic, traffic)
    assert placement.loads["axons_out"].tolist() == entries
    held = np.bincount(np.concatenate(list(placement.core_of.values())))
    assert placement.loads["neurons"].tolist() == held.tolist()
    assert held.max() <= neurons
    assert Placement.from_tree(placement.to_tree()).to_json() == placement.to_json()


# Counts of each core


def scattered(graph: Graph, seed: int) -> Placement:
    """Put every neuron into any core of its population, and the cores anywhere."""
    random = np.random.default_rng(seed)
    core_of: dict[str, Array] = {}
    population: list[str] = []
    for name, node in graph.populations.items():
        n_groups = int(random.integers(1, 4))
        core_of[name] = random.integers(0, n_groups, node.n) + len(population)
        population += [name] * n_groups
    n_cores = len(population)
    neurons = np.bincount(np.concatenate(list(core_of.values())), minlength=n_cores)
    return Placement(
        chip="loihi1",
        core_of=core_of,
        population=tuple(population),
        tiles=random.integers(0, 3, (n_cores, 2)),
        start_step=np.array([graph.populations[name].start_step for name in population]),
        loads={"neurons": neurons},
        limits={},
        traffic=np.zeros((n_cores, n_cores), np.int64),
    )


KIND = {Dense: "dense", Conv2d: "convolution", SumPool2d: "convolution", Sparse: "sparse", OneToOne: "sparse"}


def start_of(graph: Graph, node: str) -> int:
    return graph.populations[node].start_step if node in graph.populations else 0


def naive_counts(
    graph: Graph, placement: Placement, rasters: Mapping[str, Array], traces: Mapping[str, Trace]
) -> dict[tuple[str, int, int, int], int]:
    """Return {(quantity, core, step, sample): count}, steps in the time of the core's population."""
    counts: dict[tuple[str, int, int, int], int] = defaultdict(int)
    fans: dict[str, dict[int, list[int]]] = {}  # projection → source neuron → cores, one entry a synapse
    for name, p in graph.projections.items():
        fans[name] = defaultdict(list)
        for source, target, _ in synapses(graph, p):
            fans[name][source].append(int(placement.core_of[p.target][target]))
    trains = {name: raster.reshape(*raster.shape[:2], -1) != 0 for name, raster in rasters.items()}
    trains |= {name: trace.s.reshape(*trace.s.shape[:2], -1) for name, trace in traces.items()}
    for node, train in trains.items():
        leaving = {name: p for name, p in graph.projections.items() if p.source == node}
        for t, sample, neuron in np.argwhere(train).tolist():
            first: dict[int, int] = {}  # core → step in which the message arrives, in its own time
            for name, p in leaving.items():
                arrival = t + start_of(graph, node) + p.delay_steps - start_of(graph, p.target)
                for core in fans[name][neuron]:
                    if 0 <= arrival < graph.n_steps:
                        counts[f"sops_{KIND[type(p)]}", core, arrival, sample] += 1
                    first[core] = min(first.get(core, arrival), arrival)
            for core, arrival in first.items():
                if 0 <= arrival < graph.n_steps:
                    counts["messages_in", core, arrival, sample] += 1
            if node in placement.core_of:
                here = int(placement.core_of[node][neuron])
                counts["spikes", here, t, sample] += 1
                for core in first:
                    east_west, north_south = (abs(int(d)) for d in placement.tiles[here] - placement.tiles[core])
                    counts["messages", here, t, sample] += 1
                    counts["tile_messages", here, t, sample] += int(east_west + north_south == 0)
                    counts["hops_east_west", here, t, sample] += east_west
                    counts["hops_north_south", here, t, sample] += north_south
    for name, trace in traces.items():
        x, u, v = (a.reshape(*a.shape[:2], -1) for a in (trace.x, trace.u, trace.v))
        for t, sample, neuron in np.ndindex(*x.shape):
            if x[t, sample, neuron] or (t and (u[t - 1, sample, neuron] or v[t - 1, sample, neuron])):
                counts["active_updates", int(placement.core_of[name][neuron]), t, sample] += 1
    return counts


def executed(case: Case, graph: Graph, placement: Placement) -> tuple[BatchResult, Array]:
    """Run both engines with everything counted, and return what the reference engine found."""
    program = compile_program(graph, tally_of(graph, placement))
    result = run_reference(program, case.rasters, list(graph.populations))
    assert result.per_core is not None
    native = run_native(program, case.rasters).per_core
    assert native is not None
    assert np.array_equal(native, result.per_core)
    return result, result.per_core


@settings(relaxed, max_examples=60)
@given(case=cases(), seed=st.integers(0, 2**32), on_chip=st.booleans())
def test_counts_of_cores(case: Case, seed: int, on_chip: bool) -> None:
    graph = case.graph
    if on_chip:
        with suppress(GraphError):  # a loop too short for a chip
            graph = pipelined(graph)
    placement = scattered(graph, seed)
    result, per_core = executed(case, graph, placement)
    expected = np.zeros_like(per_core)
    counts = naive_counts(graph, placement, case.rasters, result.traces)
    for (quantity, core, t, sample), count in counts.items():
        expected[t, sample, QUANTITIES.index(quantity), core] = count
    for column, quantity in enumerate(QUANTITIES):
        assert np.array_equal(per_core[:, :, column], expected[:, :, column]), quantity


# Time


def core_time(profile: CostProfile, amounts: dict[str, int]) -> float:
    stages = {"neurons": 0.0, "synapses": 0.0}
    for operation in profile.operation:
        if operation.time_ns is not None:
            stages[operation.stage] += sum(amounts[quantity] for quantity in operation.counts) * operation.time_ns
    return max(stages.values())


def barrier_ns(profile: CostProfile, n_tiles: int) -> float:
    barrier = profile.barrier
    if barrier is None:
        return 0.0
    tiles, times = barrier.tiles, barrier.time_ns
    if barrier.between == "largest below":
        return [time for at, time in zip(tiles, times, strict=True) if at <= n_tiles][-1]
    return float(np.interp(n_tiles, tiles, times))


def amounts_of(cores: CoreCounts, sample: int, t: int, core: int) -> dict[str, int]:
    amounts = {q: int(cores.samples(sample, sample + 1)[0, t, place, core]) for place, q in enumerate(QUANTITIES)}
    neurons = int(cores.placement.loads["neurons"][core])
    return amounts | {"neuron_updates": neurons, "inactive_updates": neurons - amounts["active_updates"]}


def naive_latency(cores: CoreCounts, profile: CostProfile, sample: int, decision_step: int, output: str) -> float:
    """Seconds from the first step of a sample to the end of the step of its decision, nothing else on the chip."""
    placement = cores.placement
    start = placement.start_step[placement.population.index(output)]
    barrier = barrier_ns(profile, len({tuple(tile) for tile in placement.tiles.tolist()}))
    total = 0.0
    for now in range(decision_step + start + 1):
        slowest = 0.0
        for core in range(placement.n_cores):
            own = now - placement.start_step[core]
            if 0 <= own <= decision_step:
                slowest = max(slowest, core_time(profile, amounts_of(cores, sample, own, core)))
        total += slowest + barrier
    return total * 1e-9


def naive_period_steps(cores: CoreCounts, profile: CostProfile, sample: int) -> list[float]:
    """Nanoseconds of each step of a chip on which this sample comes again and again; the pipeline is full."""
    placement, n_steps = cores.placement, cores.counts.shape[1]
    barrier = barrier_ns(profile, len({tuple(tile) for tile in placement.tiles.tolist()}))
    full = int(placement.start_step.max()) + n_steps
    steps = []
    for now in range(full, full + n_steps):
        times = [
            core_time(profile, amounts_of(cores, sample, (now - placement.start_step[core]) % n_steps, core))
            for core in range(placement.n_cores)
        ]
        steps.append(max(times) + barrier)
    return steps


@st.composite
def counted(draw: st.DrawFn) -> CoreCounts:
    """Draw counts of cores that belong to a pipeline of up to four populations."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    population = sorted(random.choice(["a", "b", "c", "d"], draw(st.integers(1, 6))))
    n_cores = len(population)
    start = {name: int(random.integers(0, 5)) for name in set(population)}
    neurons = random.integers(0, 9, n_cores)
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 6)), len(CORE_QUANTITIES), n_cores)
    counts = random.integers(0, draw(st.sampled_from([1, 3, 50, 5000])), shape, dtype=np.uint32)
    place = QUANTITIES.index("active_updates")
    counts[:, :, place] = np.minimum(counts[:, :, place], neurons)
    placement = Placement(
        chip="loihi1",
        core_of={name: np.zeros(0, np.int64) for name in start},
        population=tuple(population),
        tiles=random.integers(0, 4, (n_cores, 2)),
        start_step=np.array([start[name] for name in population]),
        loads={"neurons": neurons},
        limits={},
        traffic=random.integers(0, 2, (n_cores, n_cores)),
    )
    return CoreCounts(placement=placement, counts=counts)


@settings(relaxed, max_examples=60)
@given(cores=counted(), profile=st.sampled_from(["loihi1-fit", "loihi1-presilicon"]), data=st.data())
def test_time(cores: CoreCounts, profile: str, data: st.DataObject) -> None:
    figures, n_steps = load_profile(profile), cores.counts.shape[1]
    until = data.draw(st.sampled_from(UNTIL))
    decision = np.array([data.draw(st.integers(0, n_steps - 1)) for _ in range(len(cores))])
    output = data.draw(st.sampled_from(cores.placement.population))
    timing = timing_of(cores, figures, decision, output, until)
    assert timing is not None
    latency = [naive_latency(cores, figures, n, int(decision[n]), output) for n in range(len(cores))]
    assert np.allclose(timing.latency_s, latency, rtol=1e-9, atol=0)
    if until == "decision":
        assert timing.period_s is None
        return
    steps = [naive_period_steps(cores, figures, n) for n in range(len(cores))]
    assert timing.period_s is not None
    assert np.allclose(timing.period_s, [sum(s) * 1e-9 for s in steps], rtol=1e-9, atol=0)
    assert np.isclose(timing.longest_step_s, max(max(s) for s in steps) * 1e-9, rtol=1e-9)
    assert np.isclose(timing.step_s, np.mean(steps) * 1e-9, rtol=1e-9)
    routes = [0.0]
    for here, there in np.argwhere(cores.placement.traffic).tolist():
        east_west, north_south = (abs(int(d)) for d in cores.placement.tiles[here] - cores.placement.tiles[there])
        transit = dict.fromkeys(("hops_east_west", "hops_north_south", "tile_messages"), 0.0)
        transit |= {q: op.transit_ns for op in figures.operation if op.transit_ns for q in op.counts}
        within = transit["tile_messages"] if east_west + north_south == 0 else 0.0
        routes.append(within + east_west * transit["hops_east_west"] + north_south * transit["hops_north_south"])
    assert np.isclose(timing.longest_route_s, max(routes) * 1e-9, rtol=1e-9)


# Energy


@settings(relaxed, max_examples=40)
@given(
    case=cases(),
    seed=st.integers(0, 2**32),
    profile=st.sampled_from(["loihi1-fit", "loihi1-presilicon", "cmos-45nm", "spinnaker", "truenorth"]),
    data=st.data(),
)
def test_energy(case: Case, seed: int, profile: str, data: st.DataObject) -> None:
    graph, figures = case.graph, load_profile(profile)
    placement = scattered(graph, seed)
    result, per_core = executed(case, graph, placement)
    n_samples = per_core.shape[1]
    decision = np.array([data.draw(st.integers(0, graph.n_steps - 1)) for _ in range(n_samples)])
    output = graph.outputs["out"].population
    nothing = np.zeros(n_samples, np.int64)
    placed = CoreCounts(placement=placement, counts=np.moveaxis(per_core, 1, 0).astype(np.uint32))
    run = Run(
        graph="",
        engine="reference",
        n_steps=graph.n_steps,
        depth=0,
        index=nothing,
        label=nothing,
        predicted=nothing,
        decided=nothing == 0,
        decision_step=decision,
        output_spikes=None,
        counts=Counts.from_steps(result.per_step, decision),
        dense_macs={},
        output=output,
        projections={name: (kind_of(p), p.target) for name, p in graph.projections.items()},
        cores=placed if figures.chip or data.draw(st.booleans()) else None,
    )
    cost = cost_of(run, figures)
    counts = naive_counts(graph, placement, case.rasters, result.traces)
    for t, sample in np.ndindex(graph.n_steps, n_samples):
        for core, neurons in enumerate(placement.loads["neurons"].tolist()):
            active = counts["active_updates", core, t, sample]
            counts["neuron_updates", core, t, sample] = neurons
            counts["inactive_updates", core, t, sample] = neurons - active
    for until in UNTIL:
        expected: dict[tuple[str, str], float] = defaultdict(float)
        for (quantity, core, t, sample), count in counts.items():
            for operation in figures.operation:
                known = until == "window" or t <= decision[sample]
                if known and quantity in operation.counts and operation.energy_pj is not None:
                    expected[operation.name, placement.population[core]] += count * operation.energy_pj / n_samples
        for name, energies in cost.energy_j(until).items():
            for layer in graph.populations:
                found = sum(e for e, place in zip(energies, cost.layers, strict=True) if place == layer)
                assert np.isclose(found, expected[name, layer] * 1e-12, rtol=1e-9, atol=0), (name, layer)
        if figures.static is not None:
            if until == "window":
                seconds = [sum(naive_period_steps(placed, figures, n)) * 1e-9 for n in range(n_samples)]
            else:
                seconds = [naive_latency(placed, figures, n, int(decision[n]), output) for n in range(n_samples)]
            found = cost.static_j(until)
            assert found is not None
            assert np.isclose(found, figures.static.power_w * np.mean(seconds), rtol=1e-9)
