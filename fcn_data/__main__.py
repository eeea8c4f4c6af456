"""Fetches, checks and lists the published files, and joins the channels of own pictures.

python -m fcn_data fetch NAME...
python -m fcn_data join rgb depth --out images
"""

from __future__ import annotations

import argparse
from typing import List, Optional, Sequence

from fcn_common import command
from fcn_common.arguments import Parser
from fcn_data.registry import check_name

from .catalogue import DATA_SETS
from .channel_lists import write_channel_lists
from .folders import IMAGE_SUFFIXES
from .published import NAMES, ROOT, check, fetch, missing


def parser() -> argparse.ArgumentParser:
    """Return the command line: `fetch`, `check`, `list` and `join`."""
    result = Parser(
        prog="python -m fcn_data",
        description="Fetch, check and list the published files; join the channels of pictures.",
    )
    result.add_argument(
        "--root", default=ROOT, metavar="DIR", help="the repository (default: this one)"
    )
    commands = result.add_subparsers(dest="command", required=True)
    fetching = commands.add_parser("fetch", help="download, check and lay out missing files")
    fetching.add_argument(
        "names", nargs="+", metavar="NAME", help=f"a data set (voc), or files: {', '.join(NAMES)}"
    )
    fetching.add_argument(
        "--base-url", metavar="URL", help="folder to fetch from instead of the published addresses"
    )
    checking = commands.add_parser("check", help="compare files with what was published")
    checking.add_argument(
        "names", nargs="*", metavar="NAME", help="(default: all that are in place)"
    )
    commands.add_parser("list", help="list the names, and whether each is in place")
    joining = commands.add_parser(
        "join", help="make one picture of files in several folders, such as colours and depth"
    )
    joining.add_argument("folders", nargs="+", metavar="FOLDER", help="files of the same names")
    joining.add_argument("--out", required=True, metavar="DIR", help="folder of the channel lists")
    return result


def main(argv: Optional[List[str]] = None) -> None:
    """Run one of the commands. Raises OSError if a file cannot be fetched or is damaged."""
    args = parser().parse_args(argv)
    if args.command == "fetch":
        names = [file for name in args.names for file in _files(name)]
        fetch(*names, root=args.root, base_url=args.base_url)
        for name in names:
            print(f"{name}: in place")
    elif args.command == "list":
        for name in NAMES:
            print(f"{name}: {'missing' if missing(name, args.root) else 'in place'}")
    elif args.command == "join":
        paths = write_channel_lists(args.folders, args.out, IMAGE_SUFFIXES)
        print(f"wrote {len(paths)} channel lists, such as {paths[0]}")
    else:
        _check(args.names, args.root)


def _files(name: str) -> Sequence[str]:
    """Return the published files of a data set, or the one file of this name."""
    if name not in DATA_SETS:
        return (name,)
    if not DATA_SETS[name].archives:
        raise ValueError(f"data set {name}: is drawn, not fetched; run python -m fcn_data.{name}")
    return DATA_SETS[name].archives


def _check(names: Sequence[str], root: str) -> None:
    present = [file for name in names for file in _files(name)]
    for name in present:
        check_name(name)
    present = present or [name for name in NAMES if not missing(name, root)]
    if not present:
        print("nothing is in place yet: python -m fcn_data fetch NAME...")
    damage = []
    for name in present:
        try:
            print(f"{name}: {check(name, root)}")
        except (OSError, ValueError) as error:
            print(f"{name}: missing or damaged")
            damage.append(f"{name}: {command.message(error)}")
    if damage:
        raise OSError("; ".join(damage))


if __name__ == "__main__":
    command.run(main)
