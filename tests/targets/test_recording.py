"""Runs recorded elsewhere are places: files of every kind, pipelines, parts of a graph; and what is none is refused."""

import zipfile

import h5py
import numpy as np
import pytest
from npy_headers import SPOILT, with_header

from spikegraph.export.errors import FileFormatError, TargetError
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.targets.places import reference
from spikegraph.targets.recording import read_recording, recorded, recorded_nir
from spikegraph.targets.verify import verify


@pytest.fixture
def case(make_graph, make_rasters):
    graph = make_graph()
    return graph, make_rasters(graph)


def of_one(graph, rasters, place):
    verification = verify(graph, rasters, {"other": place})
    assert not verification.refusals, verification.refusals
    [comparison] = verification.comparisons
    return comparison


def as_lava_writes(path, graph, rasters, execution):
    with h5py.File(path, "w") as file:
        file.attrs["spikegraph_recording"] = 1
        for name, traces in execution.items():
            for variable, array in traces.items():
                file[f"recording/{name}/{variable}"] = array
        for name, raster in rasters.items():
            file[f"inputs/{name}"] = raster.astype(np.int16)


def test_an_npz_file_with_all_or_with_some(case, tmp_path):
    graph, rasters = case
    execution = reference(graph, rasters)
    np.savez(tmp_path / "all.npz", **{f"{n}.{v}": a for n, traces in execution.items() for v, a in traces.items()})
    assert of_one(*case, read_recording(tmp_path / "all.npz", graph)).n_compared == 270
    np.savez(tmp_path / "some.npz", b=execution["b"]["s"].reshape(6, 3, 2, 1).astype(float))
    comparison = of_one(*case, read_recording(tmp_path / "some.npz", graph))
    assert str(comparison) == "other: identical: 1 of 2 populations (b) × 6 steps × 3 samples (s; 36 values)"


def test_an_npy_file_holds_the_output_spikes(case, tmp_path):
    graph, rasters = case
    s = reference(graph, rasters)["b"]["s"].copy()
    s[5, 2, 1] ^= True
    np.save(tmp_path / "out.npy", s)
    first = of_one(*case, read_recording(tmp_path / "out.npy", graph)).first
    assert (first.population, first.step, first.sample, first.neuron) == ("b", 5, 2, (1,))


def test_what_a_built_folder_wrote(case, tmp_path):
    graph, rasters = case
    as_lava_writes(tmp_path / "run.h5", graph, rasters, reference(graph, rasters))
    recording = read_recording(tmp_path / "run.h5", graph)
    assert of_one(*case, recording).identical
    assert {name: raster.tolist() for name, raster in recording.rasters(graph).items()} == {
        name: raster.tolist() for name, raster in rasters.items()
    }
    assert recording.samples(1, 3).rasters(graph)["x"].shape == (6, 2, 4)
    part = {"x": rasters["x"][:, 1:]}
    assert of_one(graph, part, recording.samples(1, 3)).identical


def test_a_recording_of_other_input_is_refused(case, tmp_path):
    graph, rasters = case
    as_lava_writes(tmp_path / "run.h5", graph, rasters, reference(graph, rasters))
    other = {"x": rasters["x"].copy()}
    other["x"][4, 1, 2] ^= 1
    refusal = verify(graph, other, {"run": read_recording(tmp_path / "run.h5", graph)}).refusals["run"]
    had, here = rasters["x"][4, 1, 2], other["x"][4, 1, 2]
    says = f"was recorded on other input: at sample 1, step 4, line 2 of x it has {had}, here is {here}"
    assert says in str(refusal)


def test_a_recording_of_another_graph_says_so_beside_the_difference(make_graph, case, tmp_path):
    graph, rasters = case
    other = make_graph({"decay_v": 300})
    as_lava_writes(tmp_path / "run.h5", other, rasters, reference(other, rasters))
    with h5py.File(tmp_path / "run.h5", "a") as file:
        file.attrs["graph"] = graph_checksum(other)
    assert of_one(other, rasters, read_recording(tmp_path / "run.h5", other)).identical
    comparison = of_one(graph, rasters, read_recording(tmp_path / "run.h5", graph))
    assert f"other was recorded with another graph ({graph_checksum(other)[:16]}), this one is" in str(comparison)
    np.savez(tmp_path / "same.npz", **{"b.s": reference(graph, rasters)["b"]["s"]})
    assert of_one(graph, rasters, read_recording(tmp_path / "same.npz", graph)).note == ""


def test_two_recordings_of_an_output_alone_that_differ(case):
    graph, rasters = case
    s = reference(graph, rasters)["b"]["s"]
    other = s.copy()
    other[3, 1, 0] ^= True
    verification = verify(
        graph, rasters, {"other": recorded({"b": {"s": other}})}, to=("one", recorded({"b": {"s": s}}))
    )
    first = verification.comparisons[0].first
    assert first.departs == "other"
    assert first.cause.not_recorded == ("a",)
    assert "what arrived by q from a, step 3: not recorded" in str(verification)
    assert "the spikes of a were not recorded, so it may lie there" in str(verification)


def test_a_pipeline_that_nobody_took_apart_is_aligned_by_depth(case):
    graph, rasters = case
    slow = pipelined(graph)
    traces = run_native(compile_program(slow), rasters, list(graph.populations)).traces
    whole = {}
    for name, start in (("a", 1), ("b", 2)):  # in the chip's time a starts in step 1 and b in step 2
        own = traces[name].s
        whole[name] = {"s": np.zeros((8, *own.shape[1:]), bool)}
        whole[name]["s"][start : start + 6] = own
    assert of_one(graph, rasters, recorded(whole)).identical
    assert of_one(slow, rasters, recorded(whole)).identical
    late = {name: {"s": np.roll(t["s"], 1, axis=0)} for name, t in whole.items()}
    assert not of_one(graph, rasters, recorded(late)).identical


def test_nir_data_of_a_peer(case):
    class Gridded:
        def __init__(self, data):
            self.data = data

    class Node:
        def __init__(self, **observables):
            self.observables = observables

    class Data:
        nodes: dict

    graph, rasters = case
    traces, data = reference(graph, rasters)["b"], Data()
    spikes, voltages = (Gridded(np.moveaxis(traces[v], 0, 1)) for v in ("s", "v"))
    data.nodes = {"b": Node(spikes=spikes, voltages=voltages)}
    comparison = of_one(graph, rasters, recorded_nir(data))
    assert comparison.identical
    assert comparison.variables == ("s", "v")
    data.nodes = {"b": Node(spikes=object())}
    with pytest.raises(TargetError, match=r"holds b\.spikes as events; bring it to the grid of steps"):
        recorded_nir(data)


@pytest.mark.parametrize(
    ("traces", "says"),
    [
        ({"c": {"s": np.zeros((6, 3, 3))}}, "holds c, and the graph has a, b"),
        (
            {"a": {"s": np.zeros((7, 3, 3))}},
            r"s of shape \(7, 3, 3\), expected \(6, samples, 3\), or of 8 steps",
        ),
        ({"a": {"s": np.zeros((6, 3, 4))}}, "of shape"),
        ({"a": {"s": np.zeros((6, 2, 3))}}, "holds 2 samples, 3 are compared"),
        ({"a": {"v": np.full((6, 3, 3), 0.5)}}, r"holds a\.v of float64 that are not whole numbers"),
        ({"a": {"v": np.full((6, 3, 3), np.nan)}}, "not whole numbers"),
    ],
)
def test_what_is_of_another_graph_is_refused(case, traces, says):
    graph, rasters = case
    place = recorded(traces)
    place = place.samples(0, 3) if "2 samples" in says else place
    with pytest.raises(TargetError, match=says):
        raise verify(graph, rasters, {"other": place}).refusals["other"]


@pytest.mark.parametrize("header", SPOILT)
def test_spoilt_headers(case, tmp_path, header):
    (tmp_path / "a.npy").write_bytes(with_header(header))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("output.s.npy", with_header(header))
    for name in ("a.npy", "a.npz"):
        with pytest.raises((FileFormatError, TargetError), match=name.replace(".", "[.]")):
            read_recording(tmp_path / name, case[0])


def test_what_is_no_recording_is_refused(case, tmp_path):
    graph, _ = case
    for name, content in (("a.npz", b"no zip"), ("b.npy", b""), ("c.h5", b"\x89HDF\r\n\x1a\n no"), ("d.h5", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError):
            read_recording(tmp_path / name, graph)
    with pytest.raises(FileFormatError, match="is not there"):
        read_recording(tmp_path / "none.npz", graph)
    np.savez(tmp_path / "e.npz", a=np.array([{}], dtype=object))
    with pytest.raises(FileFormatError, match=r"is not a whole \.npz file"):
        read_recording(tmp_path / "e.npz", graph)
    np.savez(tmp_path / "f.npz", **{"a.w": np.zeros((6, 3, 3))})
    with pytest.raises(TargetError, match=r"holds a\.w; name arrays POPULATION\.s"):
        read_recording(tmp_path / "f.npz", graph)
    np.savez(tmp_path / "g.npz", a=np.zeros(6))
    with pytest.raises(TargetError, match=r"holds a\.s of shape \(6,\)"):
        read_recording(tmp_path / "g.npz", graph)
    with h5py.File(tmp_path / "h.h5", "w") as file:
        file.attrs["spikegraph_recording"] = 1
        file["recording/a/w"] = np.zeros((6, 3, 3))
    with pytest.raises(FileFormatError, match="holds no s, u or v"):
        read_recording(tmp_path / "h.h5", graph)
