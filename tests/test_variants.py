"""The folders of the variants."""

import ast
import re
from pathlib import Path

import pytest

import net_gen
from fcn_data.published import PUBLISHED
from net_gen.generate import prototxt_stem
from solvers import available

ROOT = Path(__file__).resolve().parents[1]
#: Early fusion and the nets on GoogLeNet have no published weights.
RELEASED = [name for name in net_gen.VARIANTS if not re.search("googlenet|color-d", name)]


@pytest.mark.parametrize("variant", net_gen.VARIANTS)
def test_a_folder_has_the_nets_the_solver_and_two_programs(variant):
    present = {path.name for path in (ROOT / variant).iterdir() if path.is_file()}
    nets = {prototxt_stem(net_gen.VARIANTS[variant], split) for split in net_gen.SPLITS}
    assert {*(f"{stem}.prototxt" for stem in (*nets, "solver")), "net.py", "solve.py"} <= present
    assert ("caffemodel-url" in present) == (variant in RELEASED)


def test_every_folder_belongs_to_a_variant_of_the_table():
    folders = {path.name for path in ROOT.glob("*-fcn*/") if path.is_dir()}
    assert folders == set(net_gen.VARIANTS)


@pytest.mark.parametrize("variant", RELEASED)
def test_caffemodel_url_has_the_addresses_from_which_the_weights_are_fetched(variant):
    published = PUBLISHED[variant.replace("voc-", "")]
    assert (ROOT / variant / "caffemodel-url").read_text().split() == list(published.urls)
    assert available.published(variant) == str(ROOT / published.target)


def test_the_variants_without_published_weights_name_no_file():
    for variant in set(net_gen.VARIANTS) - set(RELEASED):
        assert available.published(variant) == ""


def test_every_net_py_is_the_same_program():
    assert len({(ROOT / name / "net.py").read_text() for name in net_gen.VARIANTS}) == 1


def calls(node):
    """The methods of `stage` that a piece of code calls, in the order of the text."""
    calls = [n.func for n in ast.walk(node) if isinstance(n, ast.Call)]
    methods = [f for f in calls if isinstance(f, ast.Attribute) and f.value.id == "stage"]
    return [f.attr for f in sorted(methods, key=lambda f: (f.lineno, f.col_offset))]


@pytest.mark.parametrize("variant", net_gen.VARIANTS)
def test_solve_py_calls_the_steps_of_the_method_in_order(variant):
    tree = ast.parse((ROOT / variant / "solve.py").read_text())
    (solve,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    (loop,) = (node for node in ast.walk(solve) if isinstance(node, ast.For))
    start = "start_from_each" if variant == "nyud-fcn32s-color-hha" else "start_from"
    steps = ["choose_device", "make_solver", start, "fill_upsampling", "steps", "score"]
    assert calls(solve) == steps
    assert calls(loop) == ["steps", "score"]
