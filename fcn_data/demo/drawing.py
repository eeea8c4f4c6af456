"""The progress of a drawing: a drawing that was killed continues where it stopped.

The set is drawn in ROOT.part, which becomes ROOT when it is complete. ROOT.part/drawing.json says
which set it is and how many pictures of each part are drawn.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import Any, Dict, Iterator, Mapping

from fcn_common.files import write_json
from fcn_common.places import sync_folder, writable
from fcn_common.progress import ProgressBar

STATE = "drawing.json"
#: Pictures between two notes of how far the drawing is.
INTERVAL = 20
#: A text that changes with every start of the machine.
BOOT = "/proc/sys/kernel/random/boot_id"


class Drawing:
    """The drawing of a set in the folder `root`; use it in a `with` block.

    manifest: the arguments of the set, which manifest.json of the complete set records. counts: the
    number of pictures of each part of the set.

    A drawing of another set, and one from before the machine's last start, starts anew: a power
    failure can have lost files that were written.
    """

    def __init__(self, root: str, manifest: Mapping[str, Any], counts: Mapping[str, int]) -> None:
        self._root, self.folder = root, root + ".part"
        self._manifest, self._counts = dict(manifest), counts
        self._drawn = self._read()
        if not self._drawn:
            shutil.rmtree(writable(self.folder), ignore_errors=True)
        self._bar = ProgressBar(
            sum(counts.values()), "drawing the set", sum(self._drawn.values()), leave=False
        )

    def __enter__(self) -> Drawing:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)

    def rest(self, part: str) -> Iterator[int]:
        """Yield the numbers of the pictures of a part that are not drawn yet.

        A picture counts as drawn when the next one is asked for.
        """
        for number in range(self._drawn.get(part, 0), self._counts[part]):
            yield number
            self._bar.update()
            if (number + 1) % INTERVAL == 0 or number + 1 == self._counts[part]:
                self._drawn[part] = number + 1
                self._write()

    def finish(self) -> None:
        """Let the complete set appear under its name, once all of its files are on disk."""
        write_json(os.path.join(self.folder, "manifest.json"), self._manifest, sort_keys=True)
        os.remove(os.path.join(self.folder, STATE))
        os.sync()
        if os.path.isdir(self._root):
            os.rmdir(self._root)
        os.replace(self.folder, writable(self._root))
        sync_folder(os.path.dirname(os.path.abspath(self._root)))

    def _read(self) -> Dict[str, int]:
        """Return how many pictures of each part are drawn; {} to start anew."""
        try:
            with open(os.path.join(self.folder, STATE), encoding="utf-8") as file:
                state = json.load(file)
            same = state["manifest"] == self._manifest and state["boot"] == _boot()
            return dict(state["drawn"]) if same else {}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def _write(self) -> None:
        state = {"manifest": self._manifest, "boot": _boot(), "drawn": self._drawn}
        write_json(os.path.join(self.folder, STATE), state)


def _boot() -> str:
    try:
        with open(BOOT) as file:
            return file.read().strip()
    except OSError:
        return ""
