"""Fetching, against a local HTTP server with small archives in the published shapes."""

import hashlib
import http.server
import io
import os
import re
import tarfile
import threading

import pytest

import fcn_data
from fcn_data import published
from fcn_data.__main__ import main
from fcn_data.published import Published

pytest.importorskip("requests")


class Server:
    """Serves `files` by name; `cut` bytes are sent before the connection breaks, once a name."""

    def __init__(self):
        self.files, self.cut, self.asked, self.ranges = {}, {}, [], True
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[-1]
                server.asked.append((name, self.headers.get("Range")))
                body = server.files.get(name)
                if body is None:
                    return self.send_error(404)
                span = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
                start = int(span.group(1)) if span and server.ranges else 0
                if start >= len(body) > 0:
                    return self.send_error(416)
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                stop = server.cut.pop(name, None)
                self.wfile.write(body[start:stop])
                return None

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def tar(members, mode="w"):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as file:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            if text is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                file.addfile(info)
            else:
                info.size = len(text)
                file.addfile(info, io.BytesIO(text))
    return raw.getvalue()


VOC = {
    "JPEGImages/a.jpg": b"jpg",
    "JPEGImages/b.jpg": b"jpg",
    "SegmentationClass/a.png": b"png",
    "SegmentationClass/b.png": b"png",
    "ImageSets/Segmentation/train.txt": b"a\n",
    "ImageSets/Segmentation/val.txt": b"b\na\n",
}
SBD = {
    "img/a.jpg": b"jpg",
    "cls/a.mat": b"mat",
    "inst/a.mat": b"mat",
    "train.txt": b"a\n",
    "val.txt": b"",
}


@pytest.fixture
def fakes(server, monkeypatch):
    """The registry with small archives behind it, and the server that has them."""
    voc = tar({"TrainVal/VOCdevkit/VOC2011/" + name: text for name, text in VOC.items()})
    sbd = tar({"benchmark_RELEASE/dataset/" + name: text for name, text in SBD.items()}, "w:gz")
    net = os.urandom(500_000)
    for name, file, body in (
        ("voc2011", "VOCtrainval_25-May-2011.tar", voc),
        ("sbd", "benchmark.tgz", sbd),
        ("vgg16", "VGG_ILSVRC_16_layers.caffemodel", net),
    ):
        server.files[file] = body
        entry = published.PUBLISHED[name]
        kind = entry.checksum.split(":")[0]
        changed = entry._replace(
            urls=(f"{server.url}/{file}",), checksum=f"{kind}:{hashlib.new(kind, body).hexdigest()}"
        )
        monkeypatch.setitem(published.PUBLISHED, name, changed)
    monkeypatch.setattr(published, "SEG11VALID_SHA256", hashlib.sha256(b"b\n").hexdigest())
    monkeypatch.setattr(published, "SEG11VALID_IMAGES", 1)
    monkeypatch.delenv("FCN_DATASETS_URL", raising=False)
    return server


def test_fetch_lays_out_the_data_and_the_weights_where_the_prototxts_look(fakes, tmp_path):
    fcn_data.fetch("seg11valid", "sbd", "voc2011", "vgg16", root=str(tmp_path))
    voc, sbd = tmp_path / "data/pascal/VOC2011", tmp_path / "data/sbdd/dataset"
    for root, files in ((voc, VOC), (sbd, SBD)):
        for name, text in files.items():
            assert (root / name).read_bytes() == text
    assert (voc / "ImageSets/Segmentation/seg11valid.txt").read_text() == "b\n"
    net = tmp_path / "ilsvrc-nets/VGG_ILSVRC_16_layers.caffemodel"
    assert net.read_bytes() == fakes.files["VGG_ILSVRC_16_layers.caffemodel"]
    fcn_data.require("sbd", "voc2011", "vgg16", "seg11valid", root=str(tmp_path))


def test_fetching_again_asks_the_server_for_nothing(fakes, tmp_path):
    fcn_data.fetch("sbd", root=str(tmp_path))
    asked = len(fakes.asked)
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert len(fakes.asked) == asked


def test_a_cut_connection_is_continued_where_it_broke(fakes, tmp_path):
    fakes.cut["VGG_ILSVRC_16_layers.caffemodel"] = 300_000
    fcn_data.fetch("vgg16", root=str(tmp_path))
    first, second = (span for _, span in fakes.asked)
    assert first is None
    assert 200_000 < int(second[len("bytes=") : -1]) <= 300_000
    assert not list(tmp_path.rglob("*.part"))


def test_a_part_left_by_a_killed_run_is_continued(fakes, tmp_path):
    body = fakes.files["VGG_ILSVRC_16_layers.caffemodel"]
    part = tmp_path / "ilsvrc-nets/VGG_ILSVRC_16_layers.caffemodel.part"
    part.parent.mkdir()
    part.write_bytes(body[:123])
    fcn_data.fetch("vgg16", root=str(tmp_path))
    assert [span for _, span in fakes.asked] == ["bytes=123-"]
    assert (part.parent / "VGG_ILSVRC_16_layers.caffemodel").read_bytes() == body


def test_a_server_without_ranges_is_read_from_the_start(fakes, tmp_path):
    fakes.ranges = False
    part = tmp_path / "ilsvrc-nets/VGG_ILSVRC_16_layers.caffemodel.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 123)
    fcn_data.fetch("vgg16", root=str(tmp_path))
    whole = part.parent / "VGG_ILSVRC_16_layers.caffemodel"
    assert whole.read_bytes() == fakes.files["VGG_ILSVRC_16_layers.caffemodel"]


def test_a_part_of_another_file_is_dropped_and_the_file_fetched_whole(fakes, tmp_path):
    part = tmp_path / "ilsvrc-nets/VGG_ILSVRC_16_layers.caffemodel.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 123)
    fcn_data.fetch("vgg16", root=str(tmp_path))
    whole = part.parent / "VGG_ILSVRC_16_layers.caffemodel"
    assert whole.read_bytes() == fakes.files["VGG_ILSVRC_16_layers.caffemodel"]


def test_a_whole_part_needs_only_its_checksum(fakes, tmp_path):
    part = tmp_path / "ilsvrc-nets/VGG_ILSVRC_16_layers.caffemodel.part"
    part.parent.mkdir()
    part.write_bytes(fakes.files["VGG_ILSVRC_16_layers.caffemodel"])
    fcn_data.fetch("vgg16", root=str(tmp_path))
    assert len(fakes.asked) == 1
    assert not part.exists()


def test_a_wrong_checksum_names_both_and_leaves_nothing(fakes, tmp_path):
    needed = published.PUBLISHED["vgg16"].checksum.split(":")[1]
    fakes.files["VGG_ILSVRC_16_layers.caffemodel"] = b"other"
    with pytest.raises(OSError, match="sha1 is") as error:
        fcn_data.fetch("vgg16", root=str(tmp_path))
    assert hashlib.sha1(b"other").hexdigest() in str(error.value)
    assert needed in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_mirror_is_asked_where_the_first_address_fails(fakes, tmp_path, monkeypatch):
    entry = published.PUBLISHED["sbd"]
    urls = (f"{fakes.url}/gone/nothing.tgz", *entry.urls)
    monkeypatch.setitem(published.PUBLISHED, "sbd", entry._replace(urls=urls))
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert not published.missing("sbd", str(tmp_path))


def test_the_environment_names_another_place_to_fetch_from(fakes, tmp_path, monkeypatch):
    entry = published.PUBLISHED["sbd"]
    monkeypatch.setitem(
        published.PUBLISHED, "sbd", entry._replace(urls=("http://127.0.0.1:9/benchmark.tgz",))
    )
    monkeypatch.setenv("FCN_DATASETS_URL", fakes.url + "/")
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert not published.missing("sbd", str(tmp_path))


def test_without_a_network_one_message_says_all(fakes, tmp_path, monkeypatch):
    for name in ("sbd", "vgg16"):
        entry = published.PUBLISHED[name]
        urls = (f"http://127.0.0.1:9/{entry.file}",)
        monkeypatch.setitem(published.PUBLISHED, name, entry._replace(urls=urls))
    with pytest.raises(OSError) as error:
        fcn_data.fetch("sbd", "vgg16", root=str(tmp_path))
    for name in ("sbd", "vgg16"):
        entry = published.PUBLISHED[name]
        for fact in (*entry.urls, entry.checksum, str(tmp_path / entry.download)):
            assert fact in str(error.value)


def test_an_archive_that_was_put_by_hand_is_unpacked_without_a_network(fakes, tmp_path):
    archive = tmp_path / "data/downloads/benchmark.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(fakes.files["benchmark.tgz"])
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert fakes.asked == []
    assert not published.missing("sbd", str(tmp_path))


def test_an_archive_that_was_put_by_hand_must_have_the_checksum(fakes, tmp_path):
    archive = tmp_path / "data/downloads/benchmark.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"half of it")
    with pytest.raises(OSError, match="md5 is"):
        fcn_data.fetch("sbd", root=str(tmp_path))
    assert archive.read_bytes() == b"half of it"


def test_unpacking_writes_only_below_the_target(tmp_path):
    archive = tmp_path / "evil.tar"
    archive.write_bytes(
        tar(
            {
                "in/side/good.txt": b"good",
                "in/side/../../../up.txt": b"bad",
                "/in/side/absolute.txt": b"bad",
                "in/side/link": None,
                "elsewhere/other.txt": b"other",
            }
        )
    )
    published.unpack(str(archive), "in/side", str(tmp_path / "target"))
    files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["evil.tar", "good.txt"]


def test_a_truncated_archive_leaves_no_target(tmp_path):
    body = tar({f"in/{k}.txt": os.urandom(5000) for k in range(20)}, "w:gz")
    archive = tmp_path / "half.tgz"
    archive.write_bytes(body[: len(body) // 2])
    with pytest.raises(OSError, match=r"half\.tgz"):
        published.unpack(str(archive), "in", str(tmp_path / "target"))
    assert [path.name for path in tmp_path.iterdir()] == ["half.tgz"]


def test_seg11valid_of_another_release_is_refused(fakes, tmp_path, monkeypatch):
    fcn_data.fetch("sbd", "voc2011", root=str(tmp_path))
    monkeypatch.setattr(published, "SEG11VALID_SHA256", "0" * 64)
    with pytest.raises(OSError, match="another release"):
        published.make_seg11valid(str(tmp_path))
    assert published.missing("seg11valid", str(tmp_path))


def test_require_names_every_missing_file_at_once(tmp_path):
    with pytest.raises(OSError) as error:
        fcn_data.require("sbd", "voc2011", "vgg16", "seg11valid", root=str(tmp_path))
    for fact in (
        "data/sbdd/dataset/train.txt",
        "md5:82b4d87ceb2ed10f6038a1cba92111cb",
        "VOCtrainval_25-May-2011.tar",
        "sha1:9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24",
        str(tmp_path / "ilsvrc-nets/VGG_ILSVRC_16_layers.caffemodel"),
        "seg11valid.txt",
    ):
        assert fact in str(error.value)


def test_check_finds_a_label_that_a_list_names_and_nobody_has(fakes, tmp_path, capsys):
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert main(["--root", str(tmp_path), "check"]) == 0
    os.remove(tmp_path / "data/sbdd/dataset/cls/a.mat")
    assert main(["--root", str(tmp_path), "check", "sbd"]) == 1
    assert "a.mat" in capsys.readouterr().err


def test_check_finds_damaged_weights(fakes, tmp_path, capsys):
    fcn_data.fetch("vgg16", root=str(tmp_path))
    with open(tmp_path / "ilsvrc-nets/VGG_ILSVRC_16_layers.caffemodel", "r+b") as file:
        file.write(b"\0\0\0\0")
    assert main(["--root", str(tmp_path), "check"]) == 1
    assert "needs " + published.PUBLISHED["vgg16"].checksum.split(":")[1] in capsys.readouterr().err


def test_an_unknown_name_lists_the_known_ones(tmp_path, capsys):
    assert main(["--root", str(tmp_path), "fetch", "vgg61"]) == 1
    assert "vgg16" in capsys.readouterr().err


def test_every_published_file_has_an_address_and_a_place():
    for entry in published.PUBLISHED.values():
        assert isinstance(entry, Published)
        assert all(url.startswith(("http://", "https://")) for url in entry.urls)
        assert bool(entry.inside) == bool(entry.parts)
        if entry.checksum:
            kind, digest = entry.checksum.split(":")
            assert len(digest) == hashlib.new(kind).digest_size * 2
