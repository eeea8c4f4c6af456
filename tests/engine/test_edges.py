"""The edges where files, users' code, foreign code and numbers enter: refusals in one line."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import textwrap
import threading
import zlib

import cv2
import lmdb
import numpy as np
import pytest
from caffe import CaffeError, files, glog, weights
from caffe.data import db
from caffe.data.prefetcher import Prefetcher
from caffe.errors import FileError, LayerError, NetError, NoMemoryError
from caffe.io import array_to_datum
from caffe.proto import caffe_pb2
from caffe.train import hello, policies, settings
from google.protobuf import text_format

from tests.engine.nets import build, write

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { %s } } }\n'
USER = 'layer { name: "mine" type: "Python" bottom: "x" top: "y" python_param { %s } }\n'


def values(net, array, name="y"):
    net.blobs["x"].data[...] = array
    return net.forward()[name]


@pytest.mark.parametrize("kind", ["a folder", "a FIFO", "a device"])
def test_devices_and_fifos_are_refused_before_they_are_read(tmp_path, kind):
    path = str(tmp_path / "x.caffemodel")
    if kind == "a folder":
        os.mkdir(path)
    elif kind == "a FIFO":
        os.mkfifo(path)
    else:
        path = "/dev/zero"
    for read in (weights.read_net, weights.read_blob, files.read_bytes):
        with pytest.raises(FileError, match=f"cannot be read: is {kind}; a file is needed"):
            read(path)


def png_of_size(path, height, width):
    """Write a small PNG file whose head claims another size."""
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    data = bytearray(path.read_bytes())
    struct.pack_into(">II", data, 16, width, height)
    struct.pack_into(">I", data, 29, zlib.crc32(bytes(data[12:29])))
    path.write_bytes(data)


@pytest.mark.parametrize("size", [(60000, 60000), (20000, 20000)])
def test_an_image_that_claims_more_pixels_than_its_file_can_hold_is_refused(tmp_path, size):
    png_of_size(tmp_path / "big.png", *size)
    write(tmp_path, f"{tmp_path}/big.png 1", "list.txt")
    net = f"""layer {{ name: "d" type: "ImageData" top: "x"
      image_data_param {{ source: "{tmp_path}/list.txt" }} }}"""
    with pytest.raises(CaffeError, match=r"big\.png: "):
        build(tmp_path, net)


def test_an_lmdb_database_is_read_as_the_library_reads_it(tmp_path):
    rng = np.random.default_rng(1)
    records = {
        f"{i:05d}".encode(): rng.bytes(int(rng.integers(0, 9000 if i % 7 else 50000)))
        for i in range(600)
    }
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 27) as environment:
        for part in range(3):  # several transactions, so that pages are freed and used again
            with environment.begin(write=True) as transaction:
                for key, value in list(records.items())[part * 200 : part * 200 + 200]:
                    transaction.put(key, b"before")
                    transaction.put(key, value)
    reader = db.Reader(str(tmp_path / "db"))
    assert list(reader) == [records[key] for key in sorted(records)]
    reader = db.Reader(str(tmp_path / "db" / "data.mdb"))
    assert [reader.value, reader.next(), reader.value][::2] == list(records.values())[:2]


def test_a_damaged_database_is_refused_and_its_file_is_closed(tmp_path):
    with (
        lmdb.open(str(tmp_path / "db"), map_size=1 << 20) as database,
        database.begin(write=True) as transaction,
    ):
        for i in range(300):
            transaction.put(b"%03d" % i, bytes(50))
    path = tmp_path / "db" / "data.mdb"
    content = path.read_bytes()
    opened = len(os.listdir("/proc/self/fd"))
    for size in (0, 100, 4096, 9000):
        path.write_bytes(content[:size])
        with pytest.raises(FileError, match="is truncated|is not an LMDB database"):
            db.Reader(str(tmp_path / "db"))
    for page in range(2, len(content) // 4096):
        damaged = bytearray(content)
        damaged[page * 4096 : page * 4096 + 40] = b"\xff" * 40
        path.write_bytes(damaged)
        with pytest.raises(FileError, match="is a damaged LMDB database"):
            list(db.Reader(str(tmp_path / "db")))
    assert len(os.listdir("/proc/self/fd")) <= opened


def test_a_blob_of_2_to_the_80_values_is_refused_when_the_net_is_built(tmp_path):
    with pytest.raises(CaffeError, match="'x' .*it can hold at most 2147483647 values"):
        build(tmp_path, INPUT % "dim: 1099511627776 dim: 1099511627776")


def test_a_pad_that_makes_a_blob_too_large_is_refused(tmp_path):
    conv = "convolution_param { num_output: 1 kernel_size: 1 pad: 2147483647 }"
    net = f'layer {{ name: "c" type: "Convolution" bottom: "x" top: "y" {conv} }}'
    with pytest.raises(LayerError, match=r"'c' \(Convolution\): .*at most 2147483647 values"):
        build(tmp_path, INPUT % "dim: 1 dim: 1 dim: 3 dim: 3" + net)


def test_reading_ahead_more_than_the_machine_holds_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4, 3), np.uint8))
    write(tmp_path, f"{tmp_path}/0.png 1", "list.txt")
    net = f"""layer {{ name: "d" type: "ImageData" top: "x" data_param {{ prefetch: 4294967295 }}
      image_data_param {{ source: "{tmp_path}/list.txt" }} }}"""
    with pytest.raises(NoMemoryError, match="'d' .* prefetch is 4294967295: reading ahead asks"):
        build(tmp_path, net)


def test_an_error_of_memory_names_the_layer_the_size_and_the_remedy(tmp_path):
    net = build(tmp_path, INPUT % "dim: 2" + USER % 'module: "no_memory" layer: "Mine"')
    with pytest.raises(NoMemoryError) as caught:
        net.forward()
    assert isinstance(caught.value, MemoryError)
    words = str(caught.value)
    assert (
        "layer 'mine' (Python): no memory for blobs of 2: asked for 64.0 GiB; use smaller" in words
    )


@pytest.fixture(autouse=True)
def users_layers(tmp_path, monkeypatch):
    """Modules of Python layers beside the prototxt, which no other test has imported."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    bodies = {
        "no_memory": "raise RuntimeError(\"can't allocate memory: you tried to allocate "
        '68719476736 bytes")',
        "raises": 'raise LookupError("two\\nlines")',
    }
    for name, body in bodies.items():
        sys.modules.pop(name, None)
        text = f"""
            import caffe
            class Mine(caffe.Layer):
                def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)
                def forward(self, bottom, top): {body}
        """
        write(tmp_path, textwrap.dedent(text), f"{name}.py")


def test_the_exception_of_a_users_layer_keeps_its_type_and_gets_the_layers_name(tmp_path):
    net = build(tmp_path, INPUT % "dim: 2" + USER % 'module: "raises" layer: "Mine"')
    with pytest.raises(LookupError) as caught:
        net.forward()
    assert caught.value.__notes__ == ["layer 'mine' (Python), forward"]


@pytest.mark.parametrize(
    "fields, iteration, words",
    [
        ("lr_policy: 'poly' power: 0.5 max_iter: 4", 5, "ends at max_iter 4, raise max_iter"),
        ("lr_policy: 'exp' gamma: 1e30", 99, "gives the learning rate inf at iteration 99"),
        ("lr_policy: 'inv' gamma: 1 power: -400", 99, "set other values of gamma and power"),
        ("lr_policy: 'fixed' base_lr: inf", 0, "set other values of base_lr"),
    ],
)
def test_a_rate_that_float32_lacks_is_refused(fields, iteration, words):
    param = text_format.Parse(fields, caffe_pb2.SolverParameter())
    if not param.HasField("base_lr"):
        param.base_lr = 1
    with pytest.raises(NetError, match=words):
        policies.learning_rate(param, iteration, 0)


@pytest.mark.parametrize("field", ["average_loss", "iter_size"])
def test_a_mean_over_no_iterations_is_refused(field):
    text = f"{field}: 0 lr_policy: 'fixed' base_lr: 1"
    param = text_format.Parse(text, caffe_pb2.SolverParameter())
    with pytest.raises(NetError, match=f"{field} is 0; it needs to be at least 1"):
        settings.check(param)


def test_a_uniform_filler_whose_range_float32_lacks_is_refused(tmp_path):
    for low, high in (("nan", "1"), ("-3e38", "3e38"), ("0", "inf")):
        text = f"""layer {{ name: "d" type: "DummyData" top: "x" dummy_data_param {{
          shape {{ dim: 1 }} data_filler {{ type: "uniform" min: {low} max: {high} }} }} }}"""
        with pytest.raises(LayerError, match="float32 needs to hold both and their difference"):
            build(tmp_path, text).forward()


NAN, INF = np.nan, np.inf


def test_max_pooling_passes_over_nan_and_starts_at_the_lowest_float(tmp_path):
    x = [[[[1, NAN, 3, NAN], [NAN, NAN, -INF, -INF], [INF, 1, NAN, NAN], [NAN, 2, NAN, NAN]]]]
    net = build(
        tmp_path,
        INPUT
        % "dim: 1 dim: 1 dim: 4 dim: 4"
        + 'layer { name: "p" type: "Pooling" bottom: "x" top: "y" top: "mask" '
        "pooling_param { kernel_size: 2 stride: 2 } }",
    )
    lowest = -np.finfo(np.float32).max
    assert values(net, x).ravel().tolist() == [1, 3, INF, lowest]
    assert net.blobs["mask"].data.ravel().tolist() == [0, 2, 8, -1]


@pytest.mark.parametrize(
    "x, place",
    [
        ([1, NAN, 3, 2], 2),
        ([NAN, 1, 2, NAN], 3),
        ([5, NAN, -INF, -INF], 3),
        ([NAN, 7, 1, 1], 1),
        ([1, 5, 5, 2], 2),
    ],
)
def test_argmax_compares_nan_as_bvlc_caffe_does(tmp_path, x, place):
    net = build(
        tmp_path,
        INPUT % "dim: 1 dim: 4" + 'layer { name: "a" type: "ArgMax" bottom: "x" top: "y" }',
    )
    assert values(net, [x]).ravel().tolist() == [place]


@pytest.mark.parametrize(
    "layer, shape",
    [
        ('type: "Reduction" reduction_param { axis: 1 }', (0,)),
        ('type: "ArgMax"', (0, 1, 1, 1)),
        ('type: "Pooling" pooling_param { kernel_size: 2 }', (0, 3, 5, 5)),
        ('type: "Softmax"', (0, 3, 6, 6)),
        ('type: "Convolution" convolution_param { num_output: 2 kernel_size: 3 }', (0, 2, 4, 4)),
    ],
)
def test_a_batch_of_no_images_passes(tmp_path, layer, shape):
    text = INPUT % "dim: 0 dim: 3 dim: 6 dim: 6"
    net = build(tmp_path, text + f'layer {{ name: "l" bottom: "x" top: "y" {layer} }}')
    assert net.forward()["y"].shape == shape


@pytest.mark.parametrize(
    "module, environment, words",
    [
        ("antigravity", {}, "is a part of Python or of an installed package"),
        ("os.nothing", {}, "is a part of Python"),
        ("raises", {"CAFFE_PYTHON_LAYERS": "others,more"}, "allows others, more"),
        ("raises", {"CAFFE_STRICT": "1"}, "CAFFE_STRICT allows the project's own modules alone"),
    ],
)
def test_a_module_that_is_not_allowed_is_not_imported(
    tmp_path, monkeypatch, module, environment, words
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LayerError, match=f"module '{module}' is not imported: .*{words}") as caught:
        build(tmp_path, INPUT % "dim: 2" + USER % f'module: "{module}" layer: "Mine"')
    assert f"set CAFFE_PYTHON_LAYERS={module}" in str(caught.value)
    assert module not in sys.modules


@pytest.mark.parametrize("environment", [{}, {"CAFFE_PYTHON_LAYERS": "x, raises"}])
def test_a_users_module_is_imported_with_a_line_in_the_log(
    tmp_path, monkeypatch, capfd, environment
):
    for name, value in {**environment, glog.LEVEL: "0"}.items():
        monkeypatch.setenv(name, value)
    build(tmp_path, INPUT % "dim: 2" + USER % 'module: "raises" layer: "Mine"')
    assert f"mine: imported module raises from {tmp_path}/raises.py" in capfd.readouterr().err


def test_the_strict_mode_writes_inside_the_working_folder_alone(tmp_path, program):
    code = """
        import caffe, os, sys
        net = caffe.Net("net.prototxt", caffe.TEST)
        net.save("inside.caffemodel")
        try:
            net.save("../outside.caffemodel")
        except caffe.CaffeError as error:
            print(error)
    """
    work = tmp_path / "work"
    work.mkdir()
    write(work, INPUT % "dim: 2", "net.prototxt")
    strict = {"CAFFE_STRICT": "1", "GLOG_minloglevel": "2"}
    result = program("-c", textwrap.dedent(code), cwd=work, **strict)
    assert "../outside.caffemodel: is not written: CAFFE_STRICT allows files in" in result.stdout
    assert os.listdir(work).count("inside.caffemodel") == 1
    assert os.listdir(tmp_path).count("outside.caffemodel") == 0


def test_names_reach_the_log_without_control_characters(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv(glog.LEVEL, "0")
    name = "\\033[31m\\nI1129 00:00:00.0 1 solver.cpp:1] forged"
    build(tmp_path, (INPUT % "dim: 2").replace('name: "x"', f'name: "{name}"'))
    log = capfd.readouterr().err
    assert "\x1b" not in log and r"\x1b[31m\nI1129" in log
    assert not [line for line in log.splitlines() if line.startswith("I1129 00:00:00.0 1")]


class Store(dict):
    """The key-value store of workers, in one process."""

    def __init__(self):
        super().__init__()
        self.event = threading.Event()

    def set(self, key, value):
        self[key] = value.encode()
        self.event.set()

    def get(self, key):
        assert self.event.wait(10)
        return self[key]


def test_workers_connect_in_any_order_while_strangers_wait(monkeypatch):
    store, connections, strangers = Store(), [], []
    monkeypatch.setattr(hello, "JOIN", 20)
    accepting = threading.Thread(
        target=lambda: connections.extend(hello.accept(4, store, "localhost"))
    )
    accepting.start()
    port = int(store.get("caffe/watch").decode().split()[0])
    for line in (b"", b"hello\n", b"x" * 1000, b"0123 1\n", b"GET / HTTP/1.1\r\n\r\n"):
        strangers.append(socket.create_connection(("localhost", port)))
        strangers[-1].sendall(line)
    workers = [hello.connect(rank, store, "localhost") for rank in (3, 1, 2)]
    accepting.join(10)
    assert sorted(connection.rank for connection in connections) == [1, 2, 3]
    for connection in (*connections, *workers):
        connection.socket.close()
    for stranger in strangers:
        stranger.close()


def test_a_worker_without_the_secret_of_the_run_is_not_accepted(monkeypatch):
    store, errors = Store(), []
    monkeypatch.setattr(hello, "JOIN", 0.3)
    monkeypatch.setenv(hello.SECRET, "ours")

    def accept():
        try:
            hello.accept(2, store, "localhost")
        except OSError as error:
            errors.append(str(error))

    accepting = threading.Thread(target=accept)
    accepting.start()
    store.get("caffe/watch")
    monkeypatch.setenv(hello.SECRET, "another")
    with hello.connect(1, store, "localhost").socket:
        accepting.join(10)
    assert errors == ["workers [1] did not connect within 0.3 s; start all of them"]


def test_a_server_listens_at_the_address_of_its_host_alone():
    with hello.listen("127.0.0.1") as server:
        assert server.getsockname()[0] == "127.0.0.1"
    with hello.listen("host.invalid") as server:
        assert server.getsockname()[0] == "0.0.0.0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_reading_ahead_goes_on_in_a_process_that_was_forked():
    numbers = iter(range(1000))
    prefetcher = Prefetcher(lambda: next(numbers), 3, "numbers")
    assert [prefetcher.next() for _ in range(5)] == [0, 1, 2, 3, 4]
    child = os.fork()
    if not child:
        signal_after(20)
        os._exit(int([prefetcher.next() for _ in range(20)] != list(range(5, 25))))
    assert [prefetcher.next() for _ in range(20)] == list(range(5, 25))
    assert os.waitpid(child, 0)[1] == 0


def signal_after(seconds):
    """End this process after some seconds, so that a test cannot hang."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)


def test_a_blob_with_many_readers_takes_time_in_proportion(tmp_path):
    text = "".join(
        f'layer {{ name: "l{i}" type: "AbsVal" bottom: "x" top: "y{i}" }}\n' for i in range(1000)
    )
    join = "".join(f' bottom: "y{i}"' for i in range(1000))
    text += f'layer {{ name: "sum" type: "Eltwise" {join} top: "y" }}'
    net = build(tmp_path, "force_backward: true " + INPUT % "dim: 2" + text)
    assert values(net, [1, -2]).tolist() == [1000, 2000]
    net.blobs["y"].diff[...] = 1
    net.backward()
    assert net.blobs["x"].diff.tolist() == [1000, -1000]


def image_net(folder, transform):
    lines = "".join(f"{folder}/{name}.png {i}\n" for i, name in enumerate(("a", "bad", "c")))
    write(folder, lines, "list.txt")
    for name in ("a", "c"):
        cv2.imwrite(f"{folder}/{name}.png", np.full((2, 2, 3), 7, np.uint8))
    write(folder, "no image", "bad.png")
    return f"""layer {{ name: "d" type: "ImageData" top: "x" top: "label"
      image_data_param {{ source: "{folder}/list.txt" batch_size: 3 }} {transform} }}"""


def test_a_record_that_cannot_be_read_stops_the_net_or_is_skipped_as_the_user_chooses(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv(glog.LEVEL, "1")
    with pytest.raises(FileError, match=r"'d' \(ImageData\): .*bad\.png: no image"):
        build(tmp_path, image_net(tmp_path, "")).forward()
    net = build(tmp_path, image_net(tmp_path, "transform_param { on_error: SKIP }"))
    net.forward()
    assert net.blobs["label"].data.tolist() == [0, 2, 0]
    assert "skipped a record: layer 'd' (ImageData): " in capfd.readouterr().err


def test_a_layer_that_can_read_no_record_any_more_stops(tmp_path):
    net = build(tmp_path, image_net(tmp_path, "transform_param { on_error: SKIP }"))
    for name in ("a", "c"):
        write(tmp_path, "no image", f"{name}.png")
    with pytest.raises(FileError, match="no image that can be read"):
        net.forward()


def test_a_damaged_record_of_a_database_is_skipped(tmp_path):
    datum = array_to_datum(np.zeros((1, 2, 2), np.uint8), 5)
    with (
        lmdb.open(str(tmp_path / "db"), map_size=1 << 20) as database,
        database.begin(write=True) as transaction,
    ):
        transaction.put(b"0", datum.SerializeToString())
        transaction.put(b"1", b"\xff\xff\xff")
        transaction.put(b"2", datum.SerializeToString())
    net = build(
        tmp_path,
        f"""layer {{ name: "d" type: "Data" top: "x" top: "label"
          transform_param {{ on_error: SKIP }}
          data_param {{ source: "{tmp_path}/db" backend: LMDB batch_size: 4 }} }}""",
    )
    net.forward()
    assert net.blobs["label"].data.tolist() == [5, 5, 5, 5]
