"""The folder of C: what is in it, what it says, what is refused, and what it computes by itself."""

import json
import shutil
import subprocess
from dataclasses import replace

import c_compilers
import cortex_m
import numpy as np
import pytest
from every_kind import everything
from graph_strategies import graphs, joint, rasters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export.coding import Readout
from spikegraph.export.errors import GraphError, TargetError
from spikegraph.export.graph import Dense, Output, Population
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.targets.builders import build
from spikegraph.targets.c import CRefusalError, build_c, limits
from spikegraph.targets.c.run import events_text
from spikegraph.targets.c.source import identifier


def run_main(folder, name, events):
    """Compile a folder as its Makefile does, and run it on events."""
    command = [*c_compilers.command("gcc"), "-std=c99", "main.c", f"{name}.c", "-o", name]
    subprocess.run(command, cwd=folder, check=True)
    return subprocess.run([f"./{name}"], cwd=folder, input=events, capture_output=True, text=True, check=False)


def test_folder(tmp_path, make_graph, make_rasters):
    graph, folder = make_graph(), tmp_path / "deep" / "my-Net"
    report = build(graph, folder, "c")
    assert sorted(path.name for path in folder.iterdir()) == [
        "Makefile", "README.md", "main.c", "my_net.c", "my_net.h", "neuron.h", "report.json",
    ]  # fmt: skip
    assert json.loads((folder / "report.json").read_text()) == report
    # Weights 3 × 4 + 2 × 3 bytes; v 5 × 4, u 3 × 4 and x 3 × 4 bytes, a word of spikes for each of three sources, and
    # t, `decided`, and the least of what it does not use: three words and two bytes, filled up to four.
    assert report["memory"]["weights_bytes"] == 18
    assert report["memory"]["ram_bytes"] == 20 + 12 + 12 + 12 + 8 + 12 + 4
    assert f"RAM {report['memory']['ram_bytes']} bytes" in (folder / "README.md").read_text()
    assert not any("network_" in path.read_text() or "NETWORK_" in path.read_text() for path in folder.iterdir())
    c_compilers.command("gcc")
    made = subprocess.run(["make"], cwd=folder, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    spikes = make_rasters(graph)
    ran = subprocess.run(
        ["./my_net"], cwd=folder, input=events_text(graph, spikes), capture_output=True, text=True, check=True
    )
    s = run_reference(compile_program(graph), spikes).traces["b"].s
    expected = [
        f"spikes {b} {t} o {' '.join(map(str, np.flatnonzero(s[t, b])))}"
        for b in range(3)
        for t in range(6)
        if s[t, b].any()
    ]
    assert ran.stdout.splitlines() == expected != []


def test_outputs_of_potentials(tmp_path, make_graph, make_rasters):
    graph = make_graph(outputs={"o": Output(population="b"), "v": Output(population="a", variable="v")}, n_steps=3)
    build_c(graph, tmp_path / "net")
    spikes = make_rasters(graph, n_samples=1)
    ran = run_main(tmp_path / "net", "net", events_text(graph, spikes))
    v = run_reference(compile_program(graph), spikes, ["a"]).traces["a"].v
    lines = [line for line in ran.stdout.splitlines() if line.startswith("v ")]
    assert lines == [f"v 0 {t} v {' '.join(map(str, v[t, 0]))}" for t in range(3)]


def require_decisions(graph, spikes, folder):
    build_c(graph, folder)
    ran = run_main(folder, folder.name, events_text(graph, spikes))
    assert (ran.returncode, ran.stderr) == (0, "")
    traces = run_reference(compile_program(graph), spikes).traces
    read = [traces[graph.outputs[name].population] for name in graph.readout.outputs]
    flat = [[a.reshape(*a.shape[:2], -1) for a in (trace.s, trace.v_before_reset)] for trace in read]
    decision = graph.readout.decide([s for s, _ in flat], [v for _, v in flat])
    lines = [line for line in ran.stdout.splitlines() if line.startswith(("class", "undecided"))]
    expected = [
        f"{'class' if decided else 'undecided'} {k} {predicted} {step}"
        for k, (decided, predicted, step) in enumerate(
            zip(decision.decided, decision.predicted, decision.step, strict=True)
        )
    ]
    assert lines == expected
    return lines


@st.composite
def cases_that_decide(draw):
    graph = joint(draw, draw(graphs()), draw(st.sampled_from(["count", "first_spike"])))
    return graph, draw(rasters(graph))


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases_that_decide())
def test_decisions_of_drawn_networks(tmp_path_factory, case):
    require_decisions(*case, tmp_path_factory.mktemp("net") / "net")


@pytest.mark.parametrize("kind", ["count", "membrane", "first_spike"])
@pytest.mark.parametrize("neurons_per_class", [1, 2])
def test_decisions(tmp_path, make_graph, make_rasters, kind, neurons_per_class):
    """With ties that potentials break, ties that nothing breaks, and silence."""
    graph = make_graph(readout=Readout(kind=kind, output="o", neurons_per_class=neurons_per_class))
    b = Population(shape=(6,), threshold_mant=40, bias_mant=[0, 0, 1, 1, 0, 0])
    weight = np.array([[50, 0, 30], [50, 0, 30], [0, 45, 60], [30, 0, 0], [-9, 0, 0], [20, 20, 0]])
    graph = replace(
        graph,
        populations={**graph.populations, "b": b},
        projections={**graph.projections, "q": Dense(source="a", target="b", weight=weight)},
    )
    lines = require_decisions(graph, make_rasters(graph, n_samples=40), tmp_path / "net")
    assert len({line.split()[2] for line in lines}) > 1
    if neurons_per_class == 1:
        assert {line.split()[0] for line in lines} == {"class", "undecided"}


def test_several_outputs_that_decide_together(tmp_path, make_graph, make_rasters):
    """Weights so large that scores take 64 bits: 32767 · 6 steps · 65536 neurons would, and so do potentials."""
    readout = Readout(kind="count", output="o", joined=("again",), weights=(32767, 3), neurons_per_class=1)
    graph = make_graph(outputs={"o": Output(population="b"), "again": Output(population="b")}, readout=readout)
    require_decisions(graph, make_rasters(graph, n_samples=10), tmp_path / "net")


def test_wide_scores(tmp_path, make_graph, make_rasters):
    """300 neurons a class, whose potentials take more than 32 bits when they are added: 300 · 2^23 > 2^31."""
    wide = Population(shape=(600,), threshold_mant=131071, bias_mant=4095, bias_exp=7)
    graph = make_graph(readout=Readout(kind="membrane", output="o", neurons_per_class=300), n_steps=16)
    weight = np.random.default_rng(0).integers(0, 9, (600, 3))
    graph = replace(
        graph,
        populations={**graph.populations, "b": wide},
        projections={**graph.projections, "q": Dense(source="a", target="b", weight=weight, weight_exp=7)},
    )
    build_c(graph, tmp_path / "net")
    assert "#define NET_SCORE int64_t" in (tmp_path / "net" / "net.h").read_text()
    spikes = make_rasters(graph)
    assert run_reference(compile_program(graph), spikes).traces["b"].v_before_reset[-1, 0].sum() > 2**31
    require_decisions(graph, spikes, tmp_path / "two")


def test_two_networks_link_together(tmp_path, make_graph):
    for name, n_steps in (("one", 3), ("two", 5)):
        build_c(make_graph(n_steps=n_steps), tmp_path / name)
    program = """
#include "one/one.h"
#include "two/two.h"
#include <stdio.h>
static one_net one;
static two_net two;
int main(void) {
  int n = 0, m = 0;
  one_reset(&one);
  two_reset(&two);
  while (one_step(&one, NULL, 0, NULL) == 0) n++;
  while (two_step(&two, NULL, 0, NULL) == 0) m++;
  printf("%d %d %d", n, m, one_step(&one, NULL, 0, NULL) == ONE_IS_OVER);
  return 0;
}
"""
    (tmp_path / "both.c").write_text(program)
    command = [*c_compilers.command("gcc sanitized"), "-std=c99", "both.c", "one/one.c", "two/two.c", "-o", "both"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert subprocess.run(["./both"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout == "3 5 1"


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_cpp_program_includes_the_header(tmp_path, make_graph):
    build_c(make_graph(readout=Readout(kind="count", output="o")), tmp_path / "net")
    (tmp_path / "net" / "user.cpp").write_text(
        '#include "net.h"\nstatic net_net net;\n'
        "int main() { net_reset(&net); return net_step(&net, nullptr, 0, nullptr) + net_decide(&net).step != 5; }\n"
    )
    subprocess.run(["gcc", "-std=c99", "-c", "net.c"], cwd=tmp_path / "net", check=True)
    command = ["g++", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "user.cpp", "net.o", "-o", "user"]
    subprocess.run(command, cwd=tmp_path / "net", check=True)
    subprocess.run(["./user"], cwd=tmp_path / "net", check=True)


def test_the_compiler_knows_the_memory(tmp_path, make_graph):
    build_c(make_graph(), tmp_path / "net")
    header = (tmp_path / "net" / "net.h").read_text()
    (tmp_path / "net" / "net.h").write_text(header.replace("#define NET_RAM_BYTES 80", "#define NET_RAM_BYTES 79"))
    command = [*c_compilers.command("gcc"), "-std=c99", "-c", "net.c"]
    refused = subprocess.run(command, cwd=tmp_path / "net", capture_output=True, text=True, check=False)
    assert "net_ram_is_known" in refused.stderr


@pytest.mark.skipif("arm-none-eabi-gcc" in cortex_m.MISSING, reason="needs arm-none-eabi-gcc")
def test_memory_is_what_it_was_said_to_be(tmp_path):
    """On a Cortex-M3: constants as reported, but for what the compiler computed away; no other memory."""
    graph = replace(everything(), readout=Readout(kind="first_spike", output="o"))
    report = build_c(graph, tmp_path / "net")
    command = [
        "arm-none-eabi-gcc",
        *cortex_m.CPU,
        "-std=c99",
        "-Os",
        *c_compilers.WARNINGS,
        "-c",
        "net.c",
        "-o",
        "net.o",
    ]
    subprocess.run(command, cwd=tmp_path / "net", check=True)
    sections = subprocess.run(
        ["arm-none-eabi-size", "-A", "net.o"], cwd=tmp_path / "net", check=True, capture_output=True, text=True
    )
    sizes = {line.split()[0]: int(line.split()[1]) for line in sections.stdout.splitlines() if line.startswith(".")}
    constants = {name: n for name, n in sizes.items() if name.startswith(".rodata")}
    assert sum(n for name, n in constants.items() if "weight_of" in name) == report["memory"]["weights_bytes"]
    said = report["memory"]["weights_bytes"] + report["memory"]["tables_bytes"]
    assert said - 40 <= sum(constants.values()) <= said  # tables of one row, such as `inputs`
    assert sizes[".data"] == sizes[".bss"] == 0
    assert sum(n for name, n in sizes.items() if name.startswith(".text")) <= report["memory"]["code_bytes"]


def test_names():
    assert identifier("digits") == "digits"
    assert identifier("2nd-Net.v1") == "net_2nd_net_v1"
    assert identifier("main") == "net_main"
    assert identifier("neuron") == "net_neuron"
    assert identifier("sg_neuron") == "net_sg_neuron"
    assert identifier("print") == "net_print"
    assert identifier("weight_of") == "net_weight_of"
    assert identifier("...") == "net"


def test_refusals(tmp_path, make_graph, monkeypatch):
    graph = make_graph()
    with pytest.raises(CRefusalError, match=r"a: start_step = 1, but in C all populations start at once") as refused:
        build_c(pipelined(graph), tmp_path / "net")
    assert len(refused.value.problems) == 2
    monkeypatch.setattr(limits, "MAX_WEIGHTS", 17)
    monkeypatch.setattr(limits, "MAX_SPIKES_KEPT", 8)
    # 3 × 4 + 2 × 3 = 18 weights; 4 + 3 + 2 = 9 neurons and lines.
    with pytest.raises(CRefusalError, match=r"stores 18 weights, but at most 17 .*\n.*keeps 9 spikes"):
        build_c(graph, tmp_path / "net")
    with pytest.raises(GraphError, match="threshold_mant"):
        build_c(make_graph({"threshold_mant": 0}), tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_folder_in_use_is_refused(tmp_path, make_graph):
    (tmp_path / "empty").mkdir()
    build_c(make_graph(), tmp_path / "empty")
    with pytest.raises(TargetError, match="exists and is not an empty folder"):
        build_c(make_graph(), tmp_path / "empty")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
