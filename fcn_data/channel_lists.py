"""Pictures whose channels lie in several files: colours in one, depth or infrared in another.

A channel list is a text file `NAME.channels` that names one picture in each line, relative to its
own folder. Wherever a picture is read, a channel list is one picture with the channels of all.

    python -m fcn_data join rgb depth --out images
"""

from __future__ import annotations

import os
from typing import Dict, List, Sequence

from fcn_common.files import write_text

from .split_files import read_ids

SUFFIX = ".channels"


def is_channel_list(path: str) -> bool:
    """Return whether a path names a channel list."""
    return path.lower().endswith(SUFFIX)


def listed_files(path: str) -> List[str]:
    """Return the pictures that a file stands for: those of a channel list, or the file itself.

    Raises OSError for a list that is missing, ValueError for one that is empty or lists a list.
    """
    if not is_channel_list(path):
        return [path]
    files = [os.path.join(os.path.dirname(path), line) for line in read_ids(path)]
    nested = [file for file in files if is_channel_list(file)]
    if nested:
        raise ValueError(f"{path}: names {nested[0]}, needs pictures, not another list")
    return files


def write_channel_lists(folders: Sequence[str], out: str, suffixes: Sequence[str]) -> List[str]:
    """Write a channel list for each picture that all folders have, and return the paths.

    folders: with files of the same stems. suffixes: of the files that are pictures.

    Raises OSError for a missing folder, ValueError if a picture lacks a file in a folder.
    """
    stems = [_stems(folder, suffixes) for folder in folders]
    for stem, path in stems[0].items():
        for folder, others in zip(folders, stems):
            if stem not in others:
                raise ValueError(f"{path}: has no file of this name in {folder}")
    paths = []
    for stem in sorted(stems[0]):
        files = [os.path.relpath(others[stem], out).replace(os.sep, "/") for others in stems]
        paths.append(os.path.join(out, stem + SUFFIX))
        write_text(paths[-1], "".join(file + "\n" for file in files))
    return paths


def _stems(folder: str, suffixes: Sequence[str]) -> Dict[str, str]:
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(tuple(suffixes)))
    if not names:
        raise ValueError(f"{folder}: has no pictures, needs files in {', '.join(suffixes)}")
    return {os.path.splitext(name)[0]: os.path.join(folder, name) for name in names}
