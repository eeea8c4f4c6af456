"""Fetching, against a local HTTP server with small archives in the published shapes."""

import hashlib
import http.server
import io
import os
import re
import threading
import zipfile

import pytest

import fcn_data
from fcn_common import command
from fcn_data import published, registry, sift_flow
from fcn_data.__main__ import main
from fcn_data.registry import Published
from fcn_data.split_files import read_ids
from tests.fcn_data.archive_files import tar

pytest.importorskip("requests")


class Server:
    """Serves `files` by name, and records each request in `requests` as (name, Range header).

    The first reply for a name in `cut` breaks off after that number of bytes. Without `ranges`
    the server ignores Range headers.
    """

    def __init__(self):
        self.files, self.cut, self.requests, self.ranges = {}, {}, [], True
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[-1]
                server.requests.append((name, self.headers.get("Range")))
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
        # `shutdown` waits until the server looks whether it has to end, by default every 0.5 s.
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


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
def mirror(server, monkeypatch):
    """Puts small archives in place of the published ones; gives the server that has them."""
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
    monkeypatch.setattr(registry, "SEG11VALID_SHA256", hashlib.sha256(b"b\n").hexdigest())
    monkeypatch.setattr(registry, "SEG11VALID_IMAGES", 1)
    monkeypatch.delenv("FCN_DATASETS_URL", raising=False)
    return server


def test_fetch_puts_data_and_weights_where_the_prototxts_look(mirror, tmp_path):
    fcn_data.fetch("seg11valid", "sbd", "voc2011", "vgg16", root=str(tmp_path))
    voc, sbd = tmp_path / "data/pascal/VOC2011", tmp_path / "data/sbdd/dataset"
    for root, files in ((voc, VOC), (sbd, SBD)):
        for name, text in files.items():
            assert (root / name).read_bytes() == text
    assert (voc / "ImageSets/Segmentation/seg11valid.txt").read_text() == "b\n"
    net = tmp_path / "ilsvrc-nets/VGG_ILSVRC_16_layers.caffemodel"
    assert net.read_bytes() == mirror.files["VGG_ILSVRC_16_layers.caffemodel"]
    fcn_data.require("sbd", "voc2011", "vgg16", "seg11valid", root=str(tmp_path))


def test_a_second_fetch_sends_no_request(mirror, tmp_path):
    fcn_data.fetch("sbd", root=str(tmp_path))
    count = len(mirror.requests)
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert len(mirror.requests) == count


def test_a_download_continues_where_the_connection_broke(mirror, tmp_path):
    mirror.cut["VGG_ILSVRC_16_layers.caffemodel"] = 300_000
    fcn_data.fetch("vgg16", root=str(tmp_path))
    first, second = (span for _, span in mirror.requests)
    assert first is None
    assert 200_000 < int(second[len("bytes=") : -1]) <= 300_000
    assert not list(tmp_path.rglob("*.part"))


def fetch_after_part(folder, content):
    """Fetch a file of whose download a killed program has left `content`; return its path."""
    target = folder / "ilsvrc-nets/VGG_ILSVRC_16_layers.caffemodel"
    target.parent.mkdir()
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(content)
    fcn_data.fetch("vgg16", root=str(folder))
    assert not part.exists()
    return target


def test_a_download_continues_after_the_program_was_killed(mirror, tmp_path):
    body = mirror.files["VGG_ILSVRC_16_layers.caffemodel"]
    target = fetch_after_part(tmp_path, body[:123])
    assert [span for _, span in mirror.requests] == ["bytes=123-"]
    assert target.read_bytes() == body


def test_a_server_that_ignores_ranges_is_read_from_the_start(mirror, tmp_path):
    mirror.ranges = False
    target = fetch_after_part(tmp_path, b"x" * 123)
    assert target.read_bytes() == mirror.files["VGG_ILSVRC_16_layers.caffemodel"]


def test_a_part_of_another_file_is_discarded(mirror, tmp_path):
    target = fetch_after_part(tmp_path, b"x" * 123)
    assert target.read_bytes() == mirror.files["VGG_ILSVRC_16_layers.caffemodel"]


def test_a_complete_part_is_only_verified(mirror, tmp_path):
    fetch_after_part(tmp_path, mirror.files["VGG_ILSVRC_16_layers.caffemodel"])
    assert len(mirror.requests) == 1


def test_a_wrong_checksum_is_refused_with_both_values_and_no_file_stays(mirror, tmp_path):
    needed = published.PUBLISHED["vgg16"].checksum.split(":")[1]
    mirror.files["VGG_ILSVRC_16_layers.caffemodel"] = b"other"
    with pytest.raises(OSError, match="sha1 is") as error:
        fcn_data.fetch("vgg16", root=str(tmp_path))
    assert hashlib.sha1(b"other").hexdigest() in str(error.value)
    assert needed in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_second_address_is_used_when_the_first_fails(mirror, tmp_path, monkeypatch):
    entry = published.PUBLISHED["sbd"]
    urls = (f"{mirror.url}/gone/nothing.tgz", *entry.urls)
    monkeypatch.setitem(published.PUBLISHED, "sbd", entry._replace(urls=urls))
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert not published.missing("sbd", str(tmp_path))


def test_an_environment_variable_replaces_the_published_addresses(mirror, tmp_path, monkeypatch):
    entry = published.PUBLISHED["sbd"]
    monkeypatch.setitem(
        published.PUBLISHED, "sbd", entry._replace(urls=("http://127.0.0.1:9/benchmark.tgz",))
    )
    monkeypatch.setenv("FCN_DATASETS_URL", mirror.url + "/")
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert not published.missing("sbd", str(tmp_path))


def test_without_a_network_one_message_lists_every_address_and_place(mirror, tmp_path, monkeypatch):
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


def test_an_archive_placed_by_hand_is_unpacked_without_a_network(mirror, tmp_path):
    archive = tmp_path / "data/downloads/benchmark.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(mirror.files["benchmark.tgz"])
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert mirror.requests == []
    assert not published.missing("sbd", str(tmp_path))


def test_an_archive_placed_by_hand_must_have_the_published_checksum(mirror, tmp_path):
    archive = tmp_path / "data/downloads/benchmark.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"half of it")
    with pytest.raises(OSError, match="md5 is"):
        fcn_data.fetch("sbd", root=str(tmp_path))
    assert archive.read_bytes() == b"half of it"


def test_seg11valid_of_another_release_is_refused(mirror, tmp_path, monkeypatch):
    fcn_data.fetch("sbd", "voc2011", root=str(tmp_path))
    monkeypatch.setattr(registry, "SEG11VALID_SHA256", "0" * 64)
    with pytest.raises(OSError, match="another release"):
        published.write_seg11valid(str(tmp_path))
    assert published.missing("seg11valid", str(tmp_path))


def test_require_lists_every_missing_file_in_one_message(tmp_path):
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


def status(*arguments):
    """The exit code of `python -m fcn_data ARGUMENTS`."""
    try:
        command.run(lambda: main(list(map(str, arguments))))
    except SystemExit as end:
        return end.code
    return 0


def test_check_reports_a_label_that_a_list_names_and_no_file_has(mirror, tmp_path, capsys):
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert status("--root", tmp_path, "check") == 0
    os.remove(tmp_path / "data/sbdd/dataset/cls/a.mat")
    assert status("--root", tmp_path, "check", "sbd") == 1
    assert "a.mat" in capsys.readouterr().err


def test_check_reports_damaged_weights(mirror, tmp_path, capsys):
    fcn_data.fetch("vgg16", root=str(tmp_path))
    with open(tmp_path / "ilsvrc-nets/VGG_ILSVRC_16_layers.caffemodel", "r+b") as file:
        file.write(b"\0\0\0\0")
    assert status("--root", tmp_path, "check") == 1
    assert "needs " + published.PUBLISHED["vgg16"].checksum.split(":")[1] in capsys.readouterr().err


def test_an_unknown_name_is_refused_with_the_list_of_names(tmp_path, capsys):
    assert status("--root", tmp_path, "fetch", "vgg61") == 1
    assert "vgg16" in capsys.readouterr().err
    assert status("--root", tmp_path, "check", "vgg61", "sbd") == 1
    output = capsys.readouterr()
    assert output.err.startswith("error: no published file is called 'vgg61', there are: voc2011")
    assert len(output.err.splitlines()) == 1 and not output.out


def test_check_takes_the_name_of_a_data_set_and_prints_one_error_line(mirror, tmp_path, capsys):
    fcn_data.fetch("sbd", root=str(tmp_path))
    assert status("--root", tmp_path, "check", "voc") == 1
    output = capsys.readouterr()
    assert len(output.err.splitlines()) == 1 and "voc2011: missing or damaged" in output.out


def test_fetch_takes_the_name_of_a_data_set(mirror, tmp_path, capsys):
    assert status("--root", tmp_path, "fetch", "voc") == 0
    assert not any(published.missing(name, str(tmp_path)) for name in fcn_data.VOC.archives)
    assert status("--root", tmp_path, "fetch", "demo") == 1
    assert "python -m fcn_data.demo" in capsys.readouterr().err


def test_list_says_which_files_are_in_place(mirror, tmp_path, capsys):
    fcn_data.fetch("sbd", root=str(tmp_path))
    capsys.readouterr()
    assert status("--root", tmp_path, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("in place")] == ["sbd: in place"]
    assert len(lines) == len(published.NAMES)


def test_every_published_file_has_an_address_and_a_place():
    for entry in published.PUBLISHED.values():
        assert isinstance(entry, Published)
        assert all(url.startswith(("http://", "https://")) for url in entry.urls)
        assert bool(entry.folders) == bool(entry.lists)
        assert entry.inside is not None or not entry.folders
        if entry.checksum:
            kind, digest = entry.checksum.split(":")
            assert len(digest) == hashlib.new(kind).digest_size * 2


SCENES = f"{sift_flow.SCENES}/"
STREETS = [f"street_{number}" for number in range(203)]


def zipped(members):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return raw.getvalue()


def sift_flow_archive(lists):
    """SIFT Flow's archive with these text files at its top."""
    members = {f"SiftFlowDataset/{name}": text for name, text in lists.items()}
    for idx in (*STREETS, "highway_bost181"):
        members[f"SiftFlowDataset/Images/{SCENES}{idx}.jpg"] = b"jpg"
        for folder in ("SemanticLabels", "GeoLabels"):
            members[f"SiftFlowDataset/{folder}/{SCENES}{idx}.mat"] = b"mat"
    return zipped(members)


@pytest.mark.parametrize(
    "lists",
    [
        {
            "trainval.txt": "street_200\nstreet_202\nstreet_201\n",
            "test.txt": "\n".join(STREETS[:200]),
        },
        {
            "TestSet1.txt": "\n".join(f"a\\{idx}.jpg" for idx in STREETS[:200]),
            "readme.txt": "words",
        },
    ],
)
def test_the_splits_of_sift_flow_come_from_its_archive(mirror, tmp_path, monkeypatch, lists):
    mirror.files["SiftFlowDataset.zip"] = sift_flow_archive(lists)
    fcn_data.fetch("siftflow", root=str(tmp_path), base_url=mirror.url)
    folder = tmp_path / "data/sift-flow"
    assert read_ids(folder / "test.txt") == STREETS[:200]
    trainval = read_ids(folder / "trainval.txt")
    assert sorted(trainval) == STREETS[200:]
    if "trainval.txt" in lists:
        assert trainval == lists["trainval.txt"].split()
    assert "203 images with labels" in published.check("siftflow", str(tmp_path))


def test_an_archive_of_sift_flow_without_a_test_list_is_reported(mirror, tmp_path):
    mirror.files["SiftFlowDataset.zip"] = sift_flow_archive({})
    with pytest.raises(OSError, match="lacks data/sift-flow/trainval.txt, data/sift-flow/test.txt"):
        fcn_data.fetch("siftflow", root=str(tmp_path), base_url=mirror.url)


def test_nyud_is_laid_out_from_whichever_folder_holds_it(mirror, tmp_path):
    members = {"trainval.txt": b"5001\n", "test.txt": b"5002\n"}
    for idx in ("5001", "5002"):
        for folder in ("data/images", "data/depth", "data/hha"):
            members[f"{folder}/img_{idx}.png"] = b"png"
        members[f"segmentation/img_{idx}.mat"] = b"mat"
    body = tar({f"download/nyud/{name}": content for name, content in members.items()}, "w:gz")
    mirror.files["nyud.tar.gz"] = body
    fcn_data.fetch("nyud", root=str(tmp_path), base_url=mirror.url)
    assert (tmp_path / "data/nyud/data/hha/img_5002.png").read_bytes() == b"png"
    assert "2 images with labels" in published.check("nyud", str(tmp_path))
    os.remove(tmp_path / "data/nyud/data/hha/img_5002.png")
    with pytest.raises(OSError, match="img_5002.png: no such file"):
        published.check("nyud", str(tmp_path))


def test_a_downloaded_page_in_place_of_weights_is_refused_and_no_file_stays(mirror, tmp_path):
    mirror.files["siftflow-fcn8s-heavy.caffemodel"] = b"<html>not here</html>"
    with pytest.raises(OSError, match="is not the published file"):
        fcn_data.fetch("siftflow-fcn8s", root=str(tmp_path), base_url=mirror.url)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_that_has_no_weights_is_kept_aside_when_the_weights_are_fetched(mirror, tmp_path):
    path = tmp_path / published.PUBLISHED["fcn16s"].target
    path.parent.mkdir(parents=True)
    path.write_bytes(b"my notes")
    with pytest.raises(OSError):
        fcn_data.fetch("fcn16s", root=str(tmp_path), base_url=mirror.url)
    assert path.with_name(path.name + ".unusable").read_bytes() == b"my notes"


def test_the_message_says_how_to_name_a_mirror(tmp_path):
    with pytest.raises(OSError, match="FCN_DATASETS_URL=https://host/folder python -m fcn_data"):
        fcn_data.require("nyud", root=str(tmp_path))


def test_every_archive_of_a_data_set_is_a_published_file():
    for data_set in fcn_data.DATA_SETS.values():
        assert set(data_set.archives) <= set(published.NAMES)
