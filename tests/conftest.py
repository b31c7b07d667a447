"""One thread, one temporary store for the whole run, and shapes checked while the tests run."""

import os
import shutil
import sys
import tempfile

import pytest
import shapes

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported anywhere

shapes.install()


def pytest_configure(config: pytest.Config) -> None:
    """Point the store at a temporary folder; parallel workers and subprocesses inherit it."""
    if "MO_INTERP_HOME" not in os.environ:
        os.environ["MO_INTERP_HOME"] = config.mo_interp_home = tempfile.mkdtemp(prefix="mo_interp-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the temporary store again, in the process that made it."""
    if hasattr(config, "mo_interp_home"):
        shutil.rmtree(config.mo_interp_home, ignore_errors=True)
        del os.environ["MO_INTERP_HOME"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Two threads on a busy machine are slower than one, and round differently."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
