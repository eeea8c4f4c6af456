"""Segment photographs and videos: a label map and an overlay of each, and its classes.

    python -m solvers.infer photos/ --run my_run
    python -m solvers.infer photo.jpg [--weights f.caffemodel] [--net deploy.prototxt] [--out DIR]

The net is read as its run.json says. A collection (folders, lists, several files) is done once:
the same command does what is missing. Under torchrun, the workers share the files.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from fcn_common import arguments, command
from fcn_common.places import make_folder
from fcn_common.voc import MEAN
from net_gen import VARIANTS
from solvers import device, photograph, video, workers
from solvers.check import class_names
from solvers.collection import collect, segment_collection, segment_photograph, split_paths
from solvers.interface import LONG_SIDE, Settings, load
from solvers.label_map import overlay, save_labels, shares
from solvers.photograph import PictureFiles, predict, read
from solvers.results import Result
from solvers.segmenter import VALUES, MemoryEndError, Segmenter, open_segmenter
from solvers.video import VideoFiles, segment_video

__all__ = [
    "LONG_SIDE",
    "MEAN",
    "Settings",
    "collect",
    "load",
    "open_segmenter",
    "overlay",
    "predict",
    "read",
    "run",
    "run_collection",
    "save_labels",
    "shares",
]

#: The default folders of the results: of a single file, and of a collection.
HERE, TOGETHER = ".", "segmented"
#: The most files of a collection whose classes are printed.
LISTED = 20


def run(
    photo: str,
    net: Optional[str] = None,
    weights: Optional[str] = None,
    out: str = HERE,
    gpu: device.Gpu = None,
    variant: Optional[str] = None,
    long_side: Optional[int] = None,
    as_json: bool = False,
    **options: Any,
) -> Dict[str, float]:
    """Segment a photograph or a video into `out`, print its classes, and return them.

    net, weights, variant, gpu: as for `open_segmenter`, and so are `options`, such as run, tile,
    memory and values. long_side: as for `Settings`. as_json: print a line of JSON.

    Return the classes of the first head, and the fraction of the pixels of each, largest first.
    Raises OSError for a file that cannot be read, ValueError for files that do not fit each other,
    MemoryEndError if memory ends.
    """
    say = _note if as_json else workers.say
    segmenter = _open(net, weights, gpu, variant, long_side, say, options)
    try:
        result = segment_file(photo, segmenter, out, say)
    except (OSError, ValueError, MemoryEndError) as error:
        if as_json:
            _print_json(Result(photo, error=str(error)))
        raise
    if as_json:
        _print_json(result)
    else:
        _print_result(result)
    return {share.name: share.share for share in result.heads[0].classes}


def run_collection(
    sources: Sequence[str],
    net: Optional[str] = None,
    weights: Optional[str] = None,
    out: str = TOGETHER,
    gpu: device.Gpu = None,
    variant: Optional[str] = None,
    long_side: Optional[int] = None,
    as_json: bool = False,
    **options: Any,
) -> List[str]:
    """Segment a collection into `out`, and return the files that this worker segmented.

    sources: as for `collect`. as_json: print a line of JSON for each file, also for those that are
    done. The other arguments are those of `run`, and `segment_collection` says more.
    """
    say = _note if as_json else workers.say
    collect(sources, out)
    segmenter = _open(net, weights, gpu, variant, long_side, say, options)
    if as_json:
        return segment_collection(sources, segmenter, out, _print_json, say, report_done=True)
    results: List[Result] = []
    try:
        return segment_collection(sources, segmenter, out, results.append, say)
    finally:
        for result in results if len(results) <= LISTED else ():
            if not result.error:
                print(result.line())
        count = sum(not result.error for result in results)
        if count:
            files = "1 file" if count == 1 else f"{count} files"
            print(f"{workers.label()}wrote the results of {files} to {out}")


def _open(
    net: Optional[str],
    weights: Optional[str],
    gpu: device.Gpu,
    variant: Optional[str],
    long_side: Optional[int],
    say: Callable[[str], None],
    options: Dict[str, Any],
) -> Segmenter:
    settings = options.pop("settings", None) or Settings()
    if long_side is not None:
        settings = settings._replace(long_side=long_side)
    return open_segmenter(
        net=net, weights=weights, gpu=gpu, variant=variant, settings=settings, say=say, **options
    )


def segment_file(
    path: str, segmenter: Segmenter, out: str = HERE, say: Callable[[str], None] = workers.say
) -> Result:
    """Segment a photograph or a video into `out`, and return the result.

    Raises OSError for a file that cannot be read, ValueError for one that does not fit the net,
    MemoryEndError if memory ends.
    """
    make_folder(out)
    stem = photograph.stem_of(path)
    if video.is_video(path):
        return segment_video(path, VideoFiles(out, stem, segmenter.heads), segmenter, say)
    pictures = PictureFiles(out, stem, segmenter.heads, segmenter.values)
    return segment_photograph(path, pictures, segmenter)


def _print_result(result: Result) -> None:
    for note in result.notes:
        print(command.printable(f"{result.file}: {note}"))
    if result.frames:
        print(f"{result.frames} frames in {result.seconds:.1f} s")
    *files, last = map(command.printable, result.files)
    print(f"wrote {', '.join(files)}{' and ' if files else ''}{last}")
    print("\n".join(result.table()))


def _is_collection(images: Sequence[str]) -> bool:
    """Return whether the arguments are more than a single file."""
    return len(images) > 1 or os.path.isdir(images[0]) or images[0].lower().endswith(".txt")


def _numbers(text: Optional[str]) -> Optional[Tuple[float, ...]]:
    """Return the numbers in a text with commas. Raises ValueError for other text."""
    if text is None:
        return None
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"mean {text}: needs a number for each channel, with commas") from None


def _note(line: str) -> None:
    """Print a line on stderr, where stdout has lines of JSON."""
    if workers.rank() == 0:
        print(line, file=sys.stderr, flush=True)


def _print_json(result: Result) -> None:
    print(result.json_line(), flush=True)


def _parser() -> argparse.ArgumentParser:
    return arguments.Parser(
        prog="python -m solvers.infer",
        description="Segment a photograph or a video, or those of a collection that are not done.",
        parents=[
            arguments.option(
                "image",
                nargs="+",
                help="a photograph or a video; or several, folders, .txt lists",
            ),
            *_model_arguments(),
            arguments.out(
                None, "folder for the pictures (default: here; segmented/ for a collection)"
            ),
            arguments.gpu(),
            arguments.option(
                "--long-side",
                type=int,
                metavar="PIXELS",
                help="larger pictures are reduced to this long side; 0: never (default: what the "
                f"run says; {LONG_SIDE} for the published nets)",
            ),
            arguments.option(
                "--npy",
                choices=VALUES,
                metavar="VALUES",
                help="also write the scores or probabilities of each class: K x H x W, float32",
            ),
            arguments.option(
                "--json", action="store_true", help="print a line of JSON for each file"
            ),
            arguments.option(
                "--tile",
                type=int,
                metavar="PIXELS",
                help="larger pictures are segmented in tiles of this side, with the same labels",
            ),
            arguments.option(
                "--memory",
                metavar="SIZE",
                help="pictures that need more are segmented in tiles: 2GB (default: what is free)",
            ),
        ],
    )


def _model_arguments() -> List[argparse.ArgumentParser]:
    """Return the parents of the options that say which net is used and what it reads."""
    return [
        arguments.option("--run", metavar="FOLDER", help="folder of a run of solvers.train"),
        arguments.net("deploy prototxt (default: that of the weights)"),
        arguments.weights(
            ".caffemodel, or the folder of a run or stage (default: the best on this machine)"
        ),
        arguments.option(
            "--variant", metavar="NAME", help=f"{', '.join(VARIANTS)}; or a stage of the run"
        ),
        arguments.option(
            "--mean", metavar="VALUES", help="of each channel, with commas (default: the net's)"
        ),
        arguments.option(
            "--classes",
            metavar="NAMES",
            help="class names separated by commas, or a file with one name a line",
        ),
    ]


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `run` and `run_collection`."""
    options = vars(_parser().parse_args(argv))
    images = split_paths(options.pop("image"))
    names = class_names(options.pop("classes")) or None
    options["settings"] = Settings(mean=_numbers(options.pop("mean")), classes=names)
    options["values"] = options.pop("npy")
    options["as_json"] = options.pop("json")
    out = options.pop("out")
    if _is_collection(images) or workers.count() > 1:
        run_collection(images, out=out or TOGETHER, **options)
        return
    if not video.is_video(images[0]):
        read(images[0])  # An unreadable photograph is refused before the net is loaded.
    run(images[0], out=out or HERE, **options)


if __name__ == "__main__":
    command.run(main)
