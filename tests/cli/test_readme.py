"""The Python in README.md and docs/networks.md runs as it stands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_a_graph_written_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[2], {})  # noqa: S102
    # spikes in every step: neuron 1 gets (30 + 40) << 6 = 4480 > 64 << 6 at once, neuron 0 (20 - 2) << 6 = 1152 a step
    assert capsys.readouterr().out.splitlines()[0] == "[[0 1 0]"
    assert (tmp_path / "small.h5").is_file()


@pytest.mark.slow
def test_the_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[0], {})  # noqa: S102
    exec(BLOCKS[1], {})  # noqa: S102
    out = capsys.readouterr().out.splitlines()
    assert float(out[0].split()[0]) > 0.96
    assert [line.split(":")[1] for line in out[1:]] == [" identical", " identical"]


def test_a_network_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    by_our_loop, by_its_own = re.findall(r"```python\n(.*?)```", (ROOT / "docs/networks.md").read_text(), re.S)
    names: dict[str, object] = {}
    exec(by_our_loop, names)  # noqa: S102
    accuracy, *verified = capsys.readouterr().out.splitlines()
    assert float(accuracy) > 0.9
    assert [line.split(":")[:2] for line in verified] == [["torch", " identical"], ["native", " identical"]]
    exec(by_its_own, names)  # noqa: S102
    same, accuracy = capsys.readouterr().out.split()
    assert same == "True"
    assert float(accuracy) > 0.9
    assert (tmp_path / "loop-net.h5").is_file()
