from __future__ import annotations

import pytest

from tests.experiments import small_demo


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory):
    """The folder of a finished small demo run."""
    return small_demo.make(str(tmp_path_factory.mktemp("demo")))
