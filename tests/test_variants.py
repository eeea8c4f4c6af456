"""The variants' folders."""

from pathlib import Path

import pytest

import net_gen
from fcn_data.published import PUBLISHED
from solvers import available

ROOT = Path(__file__).resolve().parents[1]
NETS = [f"{split}.prototxt" for split in (*net_gen.SPLITS, "solver")]
RELEASED = [name for name in net_gen.VARIANTS if "googlenet" not in name]


@pytest.mark.parametrize("variant", net_gen.VARIANTS)
def test_a_folder_holds_the_nets_the_solver_and_two_programs(variant):
    present = {path.name for path in (ROOT / variant).iterdir() if path.is_file()}
    assert {*NETS, "net.py", "solve.py"} <= present
    assert ("caffemodel-url" in present) == (variant in RELEASED)


def test_every_variants_folder_is_a_variant():
    assert {path.name for path in ROOT.glob("voc-*/")} == set(net_gen.VARIANTS)


@pytest.mark.parametrize("variant", RELEASED)
def test_the_address_of_the_published_weights_is_where_they_are_fetched_from(variant):
    published = PUBLISHED[variant[len("voc-") :]]
    assert (ROOT / variant / "caffemodel-url").read_text().split() == list(published.urls)
    assert available.published(variant) == str(ROOT / published.target)


def test_googlenets_weights_were_never_published():
    for variant in set(net_gen.VARIANTS) - set(RELEASED):
        assert available.published(variant) == ""


def test_every_net_py_is_the_same_program():
    assert len({(ROOT / name / "net.py").read_text() for name in net_gen.VARIANTS}) == 1
