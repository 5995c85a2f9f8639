"""Cost profiles: each loads, no figure stands without source and grade, and a wrong one says what is wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from spikegraph.export.errors import ChipError
from spikegraph.hwsim import profile
from spikegraph.hwsim.profile import Barrier, load_profile, profile_names

FOLDER = Path(profile.__file__).with_name("profiles")
PROFILES = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))}
GRADES = {"measured", "published", "pre-silicon", "fit", "derived", "assumed"}


def tables_with_figures(node: Any) -> list[dict[str, Any]]:
    """List every table that holds a number itself, whatever it is called and however deep it lies."""
    if isinstance(node, list):
        return [table for item in node for table in tables_with_figures(item)]
    if not isinstance(node, dict):
        return []

    def has_figure(value: Any) -> bool:
        return isinstance(value, (int, float)) or (isinstance(value, list) and any(has_figure(v) for v in value))

    own = [node] if any(has_figure(value) for value in node.values()) else []
    return own + [table for value in node.values() for table in tables_with_figures(value)]


FIGURES = [(name, table) for name, content in PROFILES.items() for table in tables_with_figures(content)]


@pytest.mark.parametrize(("name", "table"), FIGURES)
def test_every_figure_has_source_and_grade(name: str, table: dict[str, Any]) -> None:
    assert len(str(table.get("source", ""))) >= 10, f"{name}: {table} has no source"
    assert table.get("grade") in GRADES, f"{name}: {table} has no grade"


def test_the_test_of_sources_bites() -> None:
    assert tables_with_figures({"operation": [{"energy_pj": 1.0}]}) == [{"energy_pj": 1.0}]
    assert tables_with_figures({"barrier": {"tiles": [1, 2]}}) == [{"tiles": [1, 2]}]
    assert tables_with_figures({"name": "x", "unpriced": [{"what": "y"}]}) == []


def test_installed_profiles() -> None:
    assert profile_names() == tuple(PROFILES)
    assert set(profile_names()) == {"loihi1-presilicon", "loihi1-fit", "loihi2", "cmos-45nm", "truenorth", "spinnaker"}
    assert profile_names("loihi1") == ("loihi1-fit", "loihi1-presilicon")
    for name in PROFILES:
        assert load_profile(name).name == name


def test_loihi_2_has_no_energy() -> None:
    assert load_profile("loihi2").operation == ()
    assert load_profile("loihi2").unpriced


def test_no_profile_prices_an_operation_twice() -> None:
    for name in PROFILES:
        counted = [count for operation in load_profile(name).operation for count in operation.counts]
        assert len(counted) == len(set(counted)), name


BASE = 'name = "mine"\ntitle = "Mine"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[operation]]\nname = "x"\ncounts = ["spikes"]\nenergy_pj = 1.0\ngrade = "fit"\n', "source: Field required"),
        (
            '[[operation]]\nname = "x"\ncounts = ["spikes"]\nenergy_pj = 1.0\nsource = "a datasheet"\n',
            "grade: Field required",
        ),
        (
            '[[operation]]\nname = "x"\ncounts = ["joules"]\nenergy_pj = 1.0\nsource = "a datasheet"\ngrade = "fit"\n',
            "'joules' is not counted; known are active_updates, ",
        ),
        (
            '[[operation]]\nname = "x"\ncounts = ["spikes"]\nenergy_pj = -1.0\nsource = "a datasheet"\ngrade = "fit"\n',
            "greater than or equal to 0",
        ),
        (
            '[[operation]]\nname = "x"\ncounts = ["messages"]\nenergy_pj = 1\nsource = "datasheet 1"\ngrade = "fit"\n',
            "'messages' is known only on a chip: name it",
        ),
        (
            '[barrier]\ntiles = [1, 32]\ntime_ns = [1.0]\nsource = "a datasheet"\ngrade = "fit"\n',
            "tiles must rise, with a time for each: (1, 32) and (1.0,)",
        ),
        (
            '[barrier]\ntiles = [4, 2]\ntime_ns = [1.0, 2.0]\nsource = "a datasheet"\ngrade = "fit"\n',
            "tiles must rise",
        ),
        ('[static]\npower_w = inf\nsource = "a datasheet"\ngrade = "fit"\n', "finite number"),
        (
            'chip = "loihi1"\n[[operation]]\nname = "x"\ncounts = ["spikes"]\ntime_ns = 1.0\nsource = "a datasheet"\n'
            'grade = "fit"\n',
            "has times but no barrier",
        ),
        ("[[operation", "cannot be read as TOML"),
        ("a = " + "[" * 100_000, "cannot be read as TOML"),
    ],
)
def test_a_wrong_profile_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(BASE + text, encoding="utf-8")
    with pytest.raises(ChipError, match=re.escape(message)):
        load_profile(path)


def test_unknown_names_and_files() -> None:
    with pytest.raises(ChipError, match="choose one of cmos-45nm, "):
        load_profile("loihi9")
    with pytest.raises(ChipError, match="does not exist; check the name, or choose one of cmos-45nm"):
        load_profile("/nowhere/mine.toml")


def test_the_profile_of_the_docs_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cost.md").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(page.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    mine = load_profile(tmp_path / "mine.toml")
    assert mine.chip == "loihi1"
    assert len(mine.operation[0].counts) == 3


def test_barrier_between_the_figures() -> None:
    line = load_profile("loihi1-presilicon").barrier
    table = load_profile("loihi1-fit").barrier
    assert isinstance(line, Barrier)
    assert isinstance(table, Barrier)
    assert line.seconds(1) == pytest.approx(113e-9)
    assert line.seconds(32) == pytest.approx(465e-9)
    assert line.seconds(16) == pytest.approx((113 + 352 * 15 / 31) * 1e-9)
    assert [round(table.seconds(n) * 1e9) for n in (1, 2, 3, 28, 29, 32)] == [600, 1000, 1000, 1400, 1800, 1800]
