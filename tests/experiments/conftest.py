from __future__ import annotations

import pytest

from tests.experiments import small_demo


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """The folder of a small demo run."""
    return small_demo.make(str(tmp_path_factory.mktemp("demo")))
