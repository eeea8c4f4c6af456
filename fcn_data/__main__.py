"""`python -m fcn_data fetch NAME...`, `check [NAME...]`, `list`."""

from __future__ import annotations

import argparse
import sys
from typing import List, Optional

from . import published


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fcn_data", description=__doc__)
    parser.add_argument("--root", default=published.ROOT, help="the repository (default: this one)")
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="download, check and lay out what is missing")
    fetch.add_argument("names", nargs="+", metavar="NAME", help=", ".join(published.NAMES))
    fetch.add_argument(
        "--base-url", help="a folder to fetch from instead of the published addresses"
    )
    check = commands.add_parser(
        "check", help="read what is there and compare it with the published"
    )
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all that is there")
    commands.add_parser("list", help="the names, and whether each is there")
    args = parser.parse_args(argv)
    try:
        if args.command == "fetch":
            published.fetch(*args.names, root=args.root, base_url=args.base_url)
            for name in args.names:
                print(f"{name}: in place")
            return 0
        if args.command == "list":
            for name in published.NAMES:
                print(f"{name}: {'missing' if published.missing(name, args.root) else 'in place'}")
            return 0
        there = [name for name in published.NAMES if not published.missing(name, args.root)]
        failed = 0
        for name in args.names or there:
            try:
                print(f"{name}: {published.check(name, args.root)}")
            except OSError as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed += 1
        if not args.names and not there:
            print("nothing is there yet: python -m fcn_data fetch NAME...")
        return 1 if failed else 0
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
