"""Instructions of the C library compute what NumPy and PyTorch compute."""

from __future__ import annotations

import os
import threading

import caffe
import numpy as np
import pytest
from caffe.blob import Blob
from caffe.native import instructions as ops
from caffe.native import library
from caffe.native.link import NativeRun, link
from caffe.native.records import UnencodableError
from caffe.run.wiring import Parameter
from caffe.train.together import SmallParameters

from tests.engine import nets
from tests.engine.native_library import packing_module, session_library
from tests.engine.test_small import ARITHMETIC, DATA, LOSS, MIDDLES, feed, layer

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 3.4e38, -3.4e38, 1e-40, 88.5, -104.0]


@pytest.fixture(scope="session")
def native(tmp_path_factory):
    """The C library."""
    base = tmp_path_factory.getbasetemp()
    # With several processes, the folder above is the session's; with one, all sessions share it.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "native"
    folder.mkdir(exist_ok=True)
    result = session_library(folder)
    if isinstance(result, str):
        pytest.skip(result)
    return result


@pytest.fixture
def use(monkeypatch, native):
    """Switches between the C library and NumPy for what is linked from then on."""
    return lambda switch: monkeypatch.setattr(library, "load", lambda: native if switch else None)


def drawn(draw, *shape, special=False):
    """An array of drawn values, with special ones among them if asked for."""
    values = draw.randn(*shape).astype(np.float32) * 3
    if special and values.size:
        places = draw.randint(0, values.size, max(1, values.size // 4))
        values.reshape(-1)[places] = draw.choice(SPECIAL, len(places))
    return values


def view(draw, shape):
    """An array of a shape that is a view: strided, transposed or plain."""
    kind = draw.randint(4)
    if kind == 0:
        return drawn(draw, *shape, special=True)
    if kind == 1:
        return drawn(draw, *shape[::-1], special=True).T
    wide = drawn(draw, *[2 * n + 1 for n in shape], special=True)
    if kind == 2:
        return wide[tuple(slice(1, 1 + 2 * n, 2) for n in shape)]
    return wide[tuple(slice(1, 1 + n) for n in shape)]


def repeated(draw, array):
    """The array, or a part of it that is repeated along some axes."""
    axes = [slice(0, 1) if draw.rand() < 0.3 else slice(None) for _ in array.shape]
    return array[tuple(axes)] if draw.rand() < 0.8 else array.reshape(-1)[:1].reshape(())


def run_both(use, make, outs):
    """The outputs of an instruction by NumPy, then by the library. outs: the arrays it writes."""
    before = [out.copy() for out in outs]
    results = []
    for switch in (False, True):
        for out, values in zip(outs, before):
            out[...] = values
        use(switch)
        (*calls,) = link([make()])
        assert isinstance(calls[0], NativeRun) is switch
        with np.errstate(all="ignore"):
            for call in calls:
                call()
        results.append([out.copy() for out in outs])
    return results


def same(ours, theirs, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


ELEMENTWISE = {
    **{name: (getattr(ops, name), 2) for name in ("add", "subtract", "multiply", "divide")},
    **{name: (getattr(ops, name), 2) for name in ("maximum", "minimum", "fmax", "gate")},
    **{name: (getattr(ops, name), 1) for name in ("copy", "exp", "log")},
    "copy_where": (ops.copy_where, 2),
    "rectify": (ops.rectify, 2),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_operation_of_views_is_that_of_numpy(use, name):
    constructor, count = ELEMENTWISE[name]
    draw = np.random.RandomState(3)
    for _ in range(25):
        shape = tuple(draw.randint(1, 8, draw.randint(1, 5)))
        if draw.rand() < 0.2:
            shape = (*shape, 70)
        out = view(draw, shape)
        inputs = [view(draw, shape)]
        inputs += [repeated(draw, view(draw, shape)) for _ in range(count - 1)]
        if draw.rand() < 0.3 and name != "copy":
            inputs[0] = out
        theirs, ours = run_both(use, lambda i=inputs, o=out: constructor(*i, o), [out])
        # The smallest numbers of all have fewer digits.
        same(ours[0], theirs[0], atol=1e-42)


@pytest.mark.parametrize("name", ["sum_over", "row_sums", "column_sums", "largest"])
def test_a_reduction_is_that_of_numpy(use, name):
    draw = np.random.RandomState(4)
    for shape in [(1, 1), (5, 7), (3, 40), (64, 4), (1, 100), (33, 1)]:
        array = drawn(draw, *shape, special=name == "largest")
        axis = {"row_sums": 1}.get(name, 0)
        out = np.zeros(np.delete(shape, axis), np.float32)
        axes = ((axis,),) if name == "sum_over" else ()
        theirs, ours = run_both(
            use, lambda a=array, x=axes, o=out: getattr(ops, name)(a, *x, o), [out]
        )
        same(ours[0], theirs[0], 1e-5, atol=1e-5)


def test_sums_over_images_and_positions_are_those_of_numpy(use):
    array = drawn(np.random.RandomState(5), 3, 4, 50)
    out = np.zeros(4, np.float32)
    theirs, ours = run_both(use, lambda: ops.sum_over(array, (0, 2), out), [out])
    same(ours[0], theirs[0], 1e-5, atol=1e-5)


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
def test_a_product_of_matrices_is_that_of_numpy(use, transposed):
    draw = np.random.RandomState(6)
    for m, n, k in [
        (1, 1, 1),
        (7, 16, 5),
        (2, 3, 40),
        (13, 37, 33),
        (1, 9, 20),
        (6, 1, 9),
        (8, 8, 0),
    ]:
        a, b = (
            drawn(draw, *shape[::-1]).T if flip else drawn(draw, *shape)
            for shape, flip in zip([(m, k), (k, n)], transposed)
        )
        out = np.ones((m, n), np.float32)
        theirs, ours = run_both(use, lambda a=a, b=b, o=out: ops.product(a, b, o), [out])
        same(ours[0], theirs[0], 1e-5, atol=1e-4)


def ended_product(draw, m, n, per_row, kind):
    """A product, and what follows in its place: a bias, and a ReLU or PReLU; the output."""
    k = draw.randint(2, 40)
    a, b = drawn(draw, m, k), drawn(draw, n, k).T if draw.rand() < 0.5 else drawn(draw, k, n)
    out, shape = np.zeros((m, n), np.float32), (m, 1) if per_row else (n,)
    slope = drawn(draw, *shape) if draw.rand() < 0.7 else drawn(draw, 1).reshape(())
    steps = [ops.product(a, b, out), ops.add(out, drawn(draw, *shape, special=True), out)]
    if kind == "relu":
        steps.append(ops.maximum(out, ops.ZERO, out))
    if kind == "prelu":
        steps.append(ops.rectify(out, slope, out))
    return steps, out


@pytest.mark.parametrize("kind", ["bias", "relu", "prelu"])
def test_an_operation_in_the_place_of_a_product_joins_it_with_the_same_bits(use, kind):
    draw = np.random.RandomState(5)
    use(True)
    for _ in range(60):
        m, n = draw.choice([1, 2, 5, 13, 16, 40], 2)
        steps, out = ended_product(draw, m, n, draw.rand() < 0.5, kind)
        for step in steps:
            (call,) = link([step])
            call()
        apart = out.copy()
        (together,) = link(steps)
        together()
        np.testing.assert_array_equal(out, apart)
        assert sum(len(records) for _, records in together.parts) == 1


def test_an_operation_that_writes_elsewhere_does_not_join_a_product(use):
    draw = np.random.RandomState(6)
    use(True)
    a, b, out, other = (drawn(draw, 4, 4) for _ in range(4))
    for last in (
        ops.add(out, other, out),
        ops.add(out, drawn(draw, 4), other),
        ops.add(other, out, out),
        ops.maximum(out, np.zeros((), np.float32), out),
        ops.multiply(out, other[0], out),
    ):
        (call,) = link([ops.product(a, b, out), last])
        assert sum(len(records) for _, records in call.parts) == 2


def test_products_with_vectors_and_with_several_matrices_are_those_of_numpy(use):
    draw = np.random.RandomState(7)
    a, vector, matrices = drawn(draw, 6, 20), drawn(draw, 20), drawn(draw, 3, 20, 5)
    cases = [
        (ops.product, a, vector, np.zeros(6, np.float32)),
        (ops.product, vector, vector, np.zeros((), np.float32)),
        (ops.products, a, matrices, np.zeros((3, 6, 5), np.float32)),
        (ops.products, a, matrices[:1], np.zeros((1, 6, 5), np.float32)),
    ]
    for constructor, *arrays, out in cases:
        theirs, ours = run_both(use, lambda c=constructor, x=arrays, o=out: c(*x, o), [out])
        same(ours[0], theirs[0], 1e-5, atol=1e-4)


def test_values_are_taken_from_places_and_put_there(use):
    draw = np.random.RandomState(8)
    values, places = drawn(draw, 30), np.array([3, 29, 0])
    out = np.zeros(3, np.float32)
    theirs, ours = run_both(use, lambda: ops.take(values, places, out), [out])
    np.testing.assert_array_equal(ours[0], theirs[0])
    theirs, ours = run_both(use, lambda: ops.put(out, places, values), [values])
    np.testing.assert_array_equal(ours[0], theirs[0])
    theirs, ours = run_both(use, lambda: ops.fill(values[::2], 2.5), [values])
    np.testing.assert_array_equal(ours[0], theirs[0])


def test_arrays_that_overlap_are_left_to_numpy():
    array = np.arange(10, dtype=np.float32)
    with pytest.raises(UnencodableError):
        ops.copy(array[:-1], array[1:]).encode()
    with pytest.raises(UnencodableError):
        ops.add(array.astype(np.float64), array, array).encode()


def test_a_refused_instruction_runs_its_other_calls_and_the_rest_goes_on(use):
    use(True)
    labels, places = np.array([1, 7], np.float32), np.zeros(2, np.int64)
    a, b = np.ones(2, np.float32), np.zeros(2, np.float32)
    calls = []
    refused = ops.labels([lambda: calls.append("refused")], labels, 3, places)
    (run,) = link([ops.add(a, a, b), refused, ops.add(b, b, b)])
    run()
    assert calls == ["refused"] and b.tolist() == [4, 4]
    labels[1] = 2
    run()
    assert calls == ["refused"] and places.tolist() == [2, 5]


@pytest.mark.parametrize("decay", [0.0, 5e-4])
def test_an_update_has_the_bits_of_numpy(use, decay):
    draw, rate = np.random.RandomState(6), np.full((), 0.013, np.float32)
    for size in (1, 3, 255, 256, 257, 3000):
        arrays = [draw.randn(size).astype(np.float32) for _ in range(3)]
        theirs, ours = run_both(use, lambda a=arrays: ops.sgd(*a, 0.9, rate, 2.0, decay), arrays)
        for result, expected in zip(ours, theirs):
            np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("large, rest", [(1 << 18, []), (1 << 19, [0])])
def test_a_net_with_large_parameters_keeps_the_roundings_of_pytorch(large, rest):
    parameters = [Parameter(Blob((count,)), 1.0, 1.0) for count in (large, 100)]
    history = [Blob(parameter.blob.shape) for parameter in parameters]
    assert SmallParameters(parameters, history, in_c=True).rest == rest


def solvers(folder, use, text, batch=2):
    """Two solvers with equal weights, whose layers run in the C library and in NumPy."""
    rule = 'weight_decay: 0.01 base_lr: 0.01 lr_policy: "fixed" momentum: 0.9'
    pair = [nets.solver(folder, rule, text.replace("BATCH", str(batch))) for _ in range(2)]
    for seed in range(3):
        feed(pair, seed)
        for switch, s in zip((True, False), pair):
            use(switch)
            caffe.set_random_seed(seed)
            s.step(1)
    return pair


@pytest.mark.parametrize("name", [*MIDDLES, "arithmetic"])
def test_a_net_learns_the_same_in_c_and_in_numpy(tmp_path, use, name):
    middle = ARITHMETIC if name == "arithmetic" else layer(MIDDLES[name])
    ours, theirs = solvers(tmp_path, use, DATA + middle + LOSS)
    for s in (ours, theirs):
        assert s.net.executor.is_bound()
        assert ("in C" in s.net.executor.choice.reason) is (s is ours)
    for a, b in [
        *zip(ours.net.blobs.values(), theirs.net.blobs.values()),
        *(
            (a, b)
            for key, blobs in ours.net.params.items()
            for a, b in zip(blobs, theirs.net.params[key])
        ),
    ]:
        for x, y in ((a.data, b.data), (a.diff, b.diff)):
            same(x, y, 1e-5, atol=2e-6 * max(1e-3, abs(y).max()))


def test_nets_in_two_threads_do_not_disturb_each_other(tmp_path, use):
    use(True)
    text = (DATA + ARITHMETIC).replace("BATCH", "2")
    pair = [nets.build(tmp_path, text) for _ in range(2)]
    values = np.random.RandomState(1).randn(20, *pair[0].blobs["data"].shape)
    results = {}

    def run(number):
        outputs = []
        for x in values[number::2]:
            pair[number].blobs["data"].data[...] = x
            pair[number].forward()
            outputs.append(pair[number].blobs["top"].data.copy())
        results[number] = outputs

    pair[1].share_with(pair[0])
    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    alone = results[0], results[1]
    for i in range(2):
        run(i)
        np.testing.assert_array_equal(results[i], alone[i])


def test_a_forked_process_runs_the_net_of_its_parent(tmp_path, use):
    use(True)
    net = nets.build(tmp_path, (DATA + ARITHMETIC).replace("BATCH", "2"))
    net.blobs["data"].data[...] = 0.5
    net.forward()
    top = net.blobs["top"].data.copy()
    child = os.fork()
    if not child:
        net.forward()
        os._exit(0 if np.array_equal(net.blobs["top"].data, top) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_broken_library_is_refused(tmp_path):
    path = tmp_path / "broken.so"
    path.write_bytes(b"no library")
    with pytest.raises(library.UnusableError, match="cannot be loaded"):
        library.open_library(path)


def test_a_library_of_another_source_is_refused(native, monkeypatch):
    if not library.PATH.exists():
        pytest.skip("the library is not installed")
    checksum = library.source_checksum()
    monkeypatch.setattr(library, "source_checksum", lambda: checksum ^ 1)
    with pytest.raises(library.UnusableError, match="compiled from other C files"):
        library.open_library(library.PATH)


def test_the_checksum_is_that_of_all_c_files(tmp_path):
    for name in ("a.c", "b.h", "c.py"):
        (tmp_path / name).write_text(name)
    checksum = library.source_checksum(tmp_path)
    (tmp_path / "c.py").write_text("changed")
    assert library.source_checksum(tmp_path) == checksum
    assert packing_module().checksum(tmp_path) == checksum
    (tmp_path / "b.h").write_text("changed")
    assert library.source_checksum(tmp_path) != checksum


def test_a_missing_compiler_leaves_no_library_and_says_why(tmp_path, monkeypatch):
    packing = packing_module()
    path = tmp_path / "lib.so"
    path.write_bytes(b"of an earlier installation")
    monkeypatch.setenv("CC", "no-such-compiler-here")
    reason = packing.compile_library(library=path)
    assert "no-such-compiler-here" in reason and not path.exists()
    assert "NumPy and PyTorch compute its part" in packing.report(reason)


def test_a_failing_compiler_leaves_no_library(tmp_path, monkeypatch):
    packing = packing_module()
    monkeypatch.setenv("CC", "false")
    assert packing.compile_library(library=tmp_path / "lib.so") == "status 1"
    assert list(tmp_path.iterdir()) == []


def test_a_command_of_the_compiler_with_an_open_quotation_mark_leaves_no_library(
    tmp_path, monkeypatch
):
    packing = packing_module()
    monkeypatch.setenv("CC", 'cc "-O2')
    assert "quotation" in packing.compile_library(library=tmp_path / "lib.so")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_the_reason_of_a_missing_library(tmp_path):
    packing = packing_module()
    path = tmp_path / "missing" / "lib.so"
    assert str(path.parent) in packing.compile_library(library=path)


def test_a_wheel_with_the_library_names_its_platform():
    packing = packing_module()
    options = packing.options_of_wheel({"--build-option": "--quiet"})["--build-option"]
    assert options == ["--quiet", f"--plat-name={packing.platform_tag()}"]
