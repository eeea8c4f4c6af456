"""The generated prototxts against the published ones, by their digests."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import net_gen
from net_gen.__main__ import main
from net_gen.generate import prototxt_stem

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Files published with the papers: sha256 of the text, if a program wrote it, and of the parsed
# message, serialized deterministically.
PUBLISHED = json.loads((HERE / "published.json").read_text())
#: Path of a committed file -> its variant, and its split or "solver".
GENERATED = {
    f"{name}/{prototxt_stem(variant, split)}.prototxt": (name, split)
    for name, variant in net_gen.VARIANTS.items()
    for split in net_gen.SPLITS
} | {f"{name}/solver.prototxt": (name, "solver") for name in net_gen.VARIANTS}
FILES = list(GENERATED)


def generated(file):
    variant, split = GENERATED[file]
    return net_gen.solver(variant) if split == "solver" else net_gen.fcn(variant, split)


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("file", [file for file in FILES if "sha256" in PUBLISHED.get(file, ())])
def test_train_and_val_are_the_published_files_byte_for_byte(file):
    text = net_gen.to_text(generated(file)).encode()
    assert (len(text), digest(text)) == (PUBLISHED[file]["bytes"], PUBLISHED[file]["sha256"])


@pytest.mark.parametrize("file", [file for file in FILES if file in PUBLISHED])
def test_the_published_files_parse_to_the_generated_messages(file):
    message = generated(file).SerializeToString(deterministic=True)
    assert digest(message) == PUBLISHED[file]["message_sha256"]


def test_the_digests_cover_the_published_files():
    assert len(PUBLISHED) == 30 and set(PUBLISHED) <= set(FILES)
    assert sum("sha256" in entry for entry in PUBLISHED.values()) == 20


@pytest.mark.parametrize("file", FILES)
def test_the_committed_file_is_the_generated_text(file):
    assert (ROOT / file).read_text() == net_gen.to_text(generated(file))


@pytest.mark.parametrize("file", FILES)
def test_protobuf_reads_the_committed_file_as_the_generated_message(file):
    message = generated(file)
    read = text_format.Parse((ROOT / file).read_text(), type(message)())
    assert read == message


@pytest.mark.parametrize("variant", net_gen.VARIANTS)
def test_deploy_is_val_without_data_loss_and_dropout(variant):
    val, deploy = net_gen.fcn(variant, "val"), net_gen.fcn(variant, "deploy")
    inputs = [x for x in deploy.layer if x.type == "Input"]
    images = net_gen.VARIANTS[variant].images
    assert [x.top[0] for x in inputs] == [image.blob for image in images]
    assert len(inputs) > 1 or inputs[0].name == "input"
    for layer, image in zip(inputs, images):
        channels = 1 if image.input == "depth" else 3
        assert list(layer.input_param.shape[0].dim) == [1, channels, 500, 500]
    rest = [x for x in val.layer if x.type not in ("Python", "Dropout", "SoftmaxWithLoss")]
    assert list(deploy.layer[len(inputs) :]) == rest


def test_net_py_regenerates_its_folder(tmp_path, program):
    for name in ("net_gen", "fcn_common", "fcn_data", "voc-fcn16s/net.py"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target)
    folder = tmp_path / "voc-fcn16s"
    assert program("net.py", cwd=folder, PYTHONPATH="").returncode == 0
    assert sorted(os.listdir(folder)) == sorted(
        ["net.py", "deploy.prototxt", "solver.prototxt", "train.prototxt", "val.prototxt"]
    )
    for path in folder.glob("*.prototxt"):
        assert path.read_bytes() == (ROOT / "voc-fcn16s" / path.name).read_bytes()


def test_the_command_line_takes_the_arguments_of_fcn(tmp_path, capsys):
    arguments = ["--classes=5", "--width=1/8", "--channels=2", "--mean=1,2", "--seed=7"]
    folders = [
        "--sbdd-dir=a",
        "--voc-dir=b",
        "--train-split=c",
        "--val-split=d",
        "--dropout=0",
        "--pad=90",
    ]
    main(["voc-fcn8s", f"--out={tmp_path}", *arguments, *folders])
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "voc-fcn8s" / f"{name}.prototxt")
        for name in ("train", "val", "deploy", "solver")
    ] + [str(tmp_path / "voc-fcn8s" / name) for name in ("net.py", "solve.py")]
    settings = {"classes": 5, "width": 1 / 8, "channels": 2, "mean": (1.0, 2.0), "seed": 7}
    settings.update(dropout=0, pad=90, sbdd_dir="a", voc_dir="b", train_split="c", val_split="d")
    for split in net_gen.SPLITS:
        text = (tmp_path / "voc-fcn8s" / f"{split}.prototxt").read_text()
        assert text == net_gen.to_text(net_gen.fcn("voc-fcn8s", split, **settings))


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["voc-fcn4s"], "'voc-fcn4s'"),
        (["--width=1/1000"], "width is 1/1000"),
        (["--mean=1,2"], r"mean is \(1.0, 2.0\)"),
        (["voc-fcn32s", "nosuch"], "'nosuch'"),
    ],
)
def test_a_bad_command_line_is_refused_and_writes_no_file(tmp_path, arguments, line):
    with pytest.raises(ValueError, match=line):
        main([f"--out={tmp_path}", *arguments])
    assert not list(tmp_path.iterdir())


def test_python_m_net_gen_ends_a_bad_command_line_with_one_line(program):
    result = program("-m", "net_gen", "voc-fcn4s")
    assert result.returncode == 1
    assert result.stderr == (
        f"error: variant is 'voc-fcn4s', needs one of {', '.join(net_gen.VARIANTS)}\n"
    )


def test_a_solver_field_in_the_arguments_leaves_the_others():
    message = net_gen.solver("voc-fcn32s", base_lr=0.5, test_net=None, test_iter=7)
    published = net_gen.solver("voc-fcn32s")
    assert (message.base_lr, list(message.test_net), list(message.test_iter)) == (0.5, [], [7])
    message.base_lr = published.base_lr
    message.test_net[:], message.test_iter[:] = published.test_net, published.test_iter
    assert message == published


def test_generate_writes_the_solver_with_the_fields_in_the_arguments(tmp_path):
    paths = net_gen.generate("voc-fcn32s", tmp_path / "new", {"max_iter": 3}, width=1 / 8)
    assert all(path.parent == tmp_path / "new" for path in paths)
    text = (tmp_path / "new" / "solver.prototxt").read_text()
    assert text_format.Parse(text, caffe_pb2.SolverParameter()).max_iter == 3
