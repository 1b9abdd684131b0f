"""Property tests repeat the same examples in every run; HYPOTHESIS_PROFILE=explore looks for new ones."""

import os
import signal

import pytest
from hypothesis import settings

from cli.main import main

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(autouse=True)
def interruptible():
    """A shell starts background jobs with SIGINT ignored, which our children would inherit."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def dag(store, capsys):
    """Runs `dag` on the `store` of a test, which is closed by it; exit code, stdout and stderr."""

    def run(*words):
        store.close()
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["-C", str(store.root), *map(str, words)])
        return ended.value.code, *capsys.readouterr()

    return run
