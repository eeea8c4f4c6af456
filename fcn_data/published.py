"""The published data sets and weights: where they are, their checksums, where they go; fetching.

python -m fcn_data fetch sbd voc2011 seg11valid vgg16
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from fcn_common.files import write_text
from fcn_common.progress import ProgressBar

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOWNLOADS = os.path.join("data", "downloads")
TIMEOUT = (15, 60)
TRIES = 5


class Published(NamedTuple):
    """A published file; `target` is where it, or what its archive holds under `inside`, goes.

    Paths are relative to the repository's root. `parts` are the files and folders of an unpacked
    archive that the programs here read.
    """

    urls: Tuple[str, ...]
    checksum: Optional[str]
    target: str
    inside: Optional[str] = None
    parts: Tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return self.urls[0].rsplit("/", 1)[-1]

    @property
    def download(self) -> str:
        """Where the file itself goes: an archive lies in data/downloads until it is unpacked."""
        return os.path.join(DOWNLOADS, self.file) if self.inside else self.target


_VOC = "http://host.robots.ox.ac.uk/pascal/VOC/"
_BVLC = "http://dl.caffe.berkeleyvision.org/"
_SBD = (
    "www{}.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
)
_VGG = "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel"
_VOC_PARTS = (
    "JPEGImages",
    "SegmentationClass",
    "ImageSets/Segmentation/train.txt",
    "ImageSets/Segmentation/val.txt",
)


def _net(url: str, checksum: Optional[str], folder: str = "ilsvrc-nets") -> Published:
    return Published((url,), checksum, os.path.join(folder, url.rsplit("/", 1)[-1]))


def _fcn(name: str, checksum: Optional[str] = None) -> Published:
    return _net(f"{_BVLC}{name}.caffemodel", checksum, os.path.join("data", "fcn"))


PUBLISHED: Dict[str, Published] = {
    "voc2011": Published(
        (_VOC + "voc2011/VOCtrainval_25-May-2011.tar",),
        "md5:6c3384ef61512963050cb5d687e5bf1e",
        "data/pascal/VOC2011",
        "TrainVal/VOCdevkit/VOC2011",
        _VOC_PARTS,
    ),
    "voc2012": Published(
        (_VOC + "voc2012/VOCtrainval_11-May-2012.tar",),
        "md5:6cd6e144f989b92b3379bac3b3de84fd",
        "data/pascal/VOC2012",
        "VOCdevkit/VOC2012",
        _VOC_PARTS,
    ),
    "sbd": Published(
        ("http://" + _SBD.format(""), "https://" + _SBD.format("2")),
        "md5:82b4d87ceb2ed10f6038a1cba92111cb",
        "data/sbdd/dataset",
        "benchmark_RELEASE/dataset",
        ("img", "cls", "train.txt", "val.txt"),
    ),
    "vgg16": _net(_VGG, "sha1:9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24"),
    "alexnet": _net(
        _BVLC + "bvlc_alexnet.caffemodel", "sha1:9116a64c0fbe4459d18f4bb6b56d647b63920377"
    ),
    "caffenet": _net(
        _BVLC + "bvlc_reference_caffenet.caffemodel",
        "sha1:4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
    ),
    "googlenet": _net(
        _BVLC + "bvlc_googlenet.caffemodel", "sha1:405fc5acd08a3bb12de8ee5e23a96bec22f08204"
    ),
    "fcn32s": _fcn("fcn32s-heavy-pascal", "sha1:05eb922d7829c39448f57e5ab9d8cd75d6c0be6d"),
    "fcn16s": _fcn("fcn16s-heavy-pascal"),
    "fcn8s": _fcn("fcn8s-heavy-pascal", "sha1:c449ea74dd7d83751d1357d6a8c323fcf4038962"),
    "fcn8s-atonce": _fcn("fcn8s-atonce-pascal"),
    "fcn-alexnet": _fcn("fcn-alexnet-pascal"),
}

#: The validation split of the published scores: VOC2011's val without SBD's train, in val's order.
SEG11VALID = "data/pascal/VOC2011/ImageSets/Segmentation/seg11valid.txt"
SEG11VALID_IMAGES = 736
SEG11VALID_SHA256 = "4ca991bd72c251fd2485eaa9e29536502ea3800d1b1c17c151fd6a04bcfbc2cc"
NAMES = (*PUBLISHED, "seg11valid")


def missing(name: str, root: str = ROOT) -> List[str]:
    """The paths of `name` that are not there, relative to `root`."""
    if name == "seg11valid":
        paths: Sequence[str] = (SEG11VALID,)
    else:
        entry = _entry(name)
        paths = [os.path.join(entry.target, part) for part in entry.parts] or [entry.target]
    return [path for path in paths if not os.path.exists(os.path.join(root, path))]


def require(*names: str, root: str = ROOT) -> None:
    """Returns if the published files `names` are in place under `root`.

    Otherwise raises one OSError: each missing file, where it comes from, its checksum, its place.
    """
    wanted = [name for name in names if missing(name, root)]
    if wanted:
        raise OSError(_plea(wanted, root))


def fetch(*names: str, root: str = ROOT, base_url: Optional[str] = None) -> None:
    """Downloads, checks and lays out what is missing of `names` under `root`.

    An interrupted download continues where it stopped. `base_url` (or the environment variable
    FCN_DATASETS_URL) is a folder to fetch from instead of the published addresses. Raises one
    OSError with every file that could not be had and why.
    """
    base_url = base_url or os.environ.get("FCN_DATASETS_URL")
    failed: Dict[str, str] = {}
    for name in sorted(names, key=lambda name: name == "seg11valid"):
        if not missing(name, root):
            continue
        try:
            if name == "seg11valid":
                make_seg11valid(root)
                continue
            entry = _entry(name)
            path = os.path.join(root, entry.download)
            if not os.path.exists(path):
                urls = entry.urls
                if base_url:
                    urls = (base_url.rstrip("/") + "/" + entry.file,)
                download(urls, path, entry.checksum)
            elif entry.inside:
                _verify(path, path, entry.checksum)
            if entry.inside:
                unpack(path, entry.inside, os.path.join(root, entry.target))
            left = missing(name, root)
            if left:
                raise OSError(f"{entry.file} came without {', '.join(left)}")
        except OSError as error:
            failed[name] = str(error)
    if failed:
        raise OSError(_plea(list(failed), root, failed))


def download(urls: Sequence[str], path: str, checksum: Optional[str] = None) -> None:
    """Fetches the first of `urls` that can be had into `path`, continuing `path`.part."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    part = path + ".part"
    reasons = []
    for url in urls:
        try:
            resumed = _download(url, part)
            try:
                _verify(part, url, checksum)
            except OSError:
                os.remove(part)
                if not resumed:
                    raise
                # The part was of another file, perhaps another address's: once more from the start.
                _download(url, part)
                _verify(part, url, checksum, remove=True)
            os.replace(part, path)
            return
        except OSError as error:
            reasons.append(str(error))
    raise OSError("; ".join(reasons))


def _download(url: str, part: str) -> bool:
    """Fetches `url` into `part`, from where `part` ends; says whether there was anything in it."""
    import requests

    started = os.path.getsize(part) if os.path.exists(part) else 0
    tries, reached = 0, started
    while True:
        have = os.path.getsize(part) if os.path.exists(part) else 0
        if have > reached:
            tries, reached = 0, have
        try:
            headers = {"Range": f"bytes={have}-"} if have else {}
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as reply:
                if have and reply.status_code == 416:
                    return True  # nothing after the part: it is complete, or the checksum tells
                reply.raise_for_status()
                follows = reply.headers.get("Content-Range", "").startswith(f"bytes {have}-")
                if have and not (reply.status_code == 206 and follows):
                    have = 0
                total = have + int(reply.headers.get("Content-Length", 0))
                with (
                    open(part, "ab" if have else "wb") as file,
                    ProgressBar(
                        total, os.path.basename(part)[: -len(".part")], unit="B", leave=False
                    ) as bar,
                ):
                    bar.update(have)
                    for block in reply.iter_content(1 << 16):
                        file.write(block)
                        bar.update(len(block))
            size = os.path.getsize(part)
            if "Content-Length" in reply.headers and size < total:
                raise requests.ConnectionError(f"ended after {size} of {total} bytes")
            return started > 0
        except requests.HTTPError as error:
            raise OSError(f"{url}: {error.response.status_code} {error.response.reason}") from None
        except requests.RequestException as error:
            tries += 1
            grown = os.path.exists(part) and os.path.getsize(part) > reached
            if not grown and (
                tries >= TRIES
                or isinstance(error, requests.ConnectTimeout)
                or not os.path.exists(part)
            ):
                raise OSError(f"{url}: {_reason(error)}") from None


def _bar(size: int, title: str) -> ProgressBar:
    return ProgressBar(size, title, unit="B", leave=False)


def _reason(error: Exception) -> str:
    """The last, most telling part of a chain of wrapped network errors, in one line."""
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return f"{type(cause).__name__}: {cause}".replace("\n", " ")


def _verify(path: str, source: str, checksum: Optional[str], remove: bool = False) -> None:
    if checksum is None:
        return
    kind, needed = checksum.split(":")
    digest = hashlib.new(kind)
    with (
        open(path, "rb") as file,
        _bar(os.path.getsize(path), f"{kind} of {path}") as bar,
    ):
        for block in iter(lambda: file.read(1 << 22), b""):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != needed:
        if remove:
            os.remove(path)
        raise OSError(f"{source}: its {kind} is {digest.hexdigest()}, needs {needed}")


def unpack(archive: str, inside: str, target: str) -> None:
    """Unpacks the folder `inside` of a tar file as `target`, which appears whole.

    Only files and folders below `inside` are written; links and other kinds are left out.
    """
    if os.path.exists(target):
        raise OSError(f"{target} is there but not complete: move it away and fetch again")
    part = target + ".part"
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part)
    prefix = inside.strip("/") + "/"
    try:
        with (
            open(archive, "rb") as raw,
            ProgressBar(
                os.path.getsize(archive),
                f"unpacking {os.path.basename(archive)}",
                unit="B",
                leave=False,
            ) as bar,
            tarfile.open(fileobj=raw, mode="r|*") as tar,
        ):
            for member in tar:
                bar.update(raw.tell() - bar.count)
                name = os.path.normpath(member.name).replace(os.sep, "/")
                if not name.startswith(prefix):
                    continue
                path = os.path.join(part, *name[len(prefix) :].split("/"))
                if member.isdir():
                    os.makedirs(path, exist_ok=True)
                elif member.isfile():
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    source = tar.extractfile(member)
                    with open(path, "wb") as file:
                        shutil.copyfileobj(source, file, 1 << 20)  # type: ignore[arg-type]
        if not os.listdir(part):
            raise OSError(f"{archive}: holds no folder {inside}")
        os.replace(part, target)
    except (tarfile.TarError, EOFError) as error:
        raise OSError(f"{archive}: is not a readable tar file ({error})") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def make_seg11valid(root: str = ROOT) -> None:
    """Writes the seg11valid split from VOC2011's val and SBD's train, checked by its checksum."""
    sbd = os.path.join(root, PUBLISHED["sbd"].target, "train.txt")
    val = os.path.join(root, os.path.dirname(SEG11VALID), "val.txt")
    for path in (val, sbd):
        if not os.path.isfile(path):
            raise OSError(f"{path} is not there: fetch voc2011 and sbd first")
    taken = set(_read_ids(sbd))
    ids = [idx for idx in _read_ids(val) if idx not in taken]
    text = "".join(idx + "\n" for idx in ids)
    if hashlib.sha256(text.encode()).hexdigest() != SEG11VALID_SHA256:
        raise OSError(
            f"{val} without {sbd} has {len(ids)} images that are not the published "
            f"{SEG11VALID_IMAGES}: one of the two files is of another release"
        )
    write_text(os.path.join(root, SEG11VALID), text)


def _read_ids(path: str) -> List[str]:
    with open(path, encoding="utf-8") as file:
        return file.read().split()


def check(name: str, root: str = ROOT) -> str:
    """Reads what is there of `name` and says in a line what it found; raises OSError if damaged."""
    require(name, root=root)
    if name == "seg11valid":
        with open(os.path.join(root, SEG11VALID), "rb") as file:
            text = file.read()
        found = hashlib.sha256(text).hexdigest()
        if found != SEG11VALID_SHA256:
            raise OSError(f"{SEG11VALID}: its sha256 is {found}, needs {SEG11VALID_SHA256}")
        return f"{len(text.split())} images, as published"
    entry = _entry(name)
    target = os.path.join(root, entry.target)
    if not entry.inside:
        _verify(target, target, entry.checksum)
        return f"{entry.checksum or 'no checksum is published'}"
    lists = [part for part in entry.parts if part.endswith(".txt")]
    folders = {"img": ".jpg", "cls": ".mat", "JPEGImages": ".jpg", "SegmentationClass": ".png"}
    count = 0
    for part in lists:
        for idx in _read_ids(os.path.join(target, part)):
            count += 1
            for folder in (part for part in entry.parts if part in folders):
                path = os.path.join(target, folder, idx + folders[folder])
                if not os.path.isfile(path):
                    raise OSError(f"{path}: not there, though {part} lists it")
    return f"{count} images with labels in {', '.join(lists)}"


def _entry(name: str) -> Published:
    if name not in PUBLISHED:
        raise ValueError(f"no published file is called {name!r}, there are: {', '.join(NAMES)}")
    return PUBLISHED[name]


def _plea(names: Sequence[str], root: str, reasons: Optional[Dict[str, str]] = None) -> str:
    """One message: what is missing, from where, with which checksum, where to put it."""
    lines = [f"{len(names)} published data sets or weights are not in place:"]
    for name in names:
        lines.append(f"  {name}: needs {', '.join(missing(name, root))}")
        if name == "seg11valid":
            lines.append("    made from voc2011 and sbd")
        else:
            entry = _entry(name)
            lines.append("    from " + " or ".join(entry.urls))
            lines.append("    checksum " + (entry.checksum or "not published"))
            lines.append("    put it at " + os.path.join(root, entry.download))
        if reasons:
            lines.append(f"    {reasons[name]}")
    lines.append(f"then run: python -m fcn_data fetch {' '.join(names)}")
    return "\n".join(lines)
