"""A training that is killed, at any moment, ends just as if it had been left in peace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it forks")
EACH_STEP = "scratch: Muon"


@pytest.fixture
def kills(shared_cache, tmp_path):
    """Return ``kills(options)``: a record of each; `killing.py` needs a process of its own."""
    script = Path(__file__).parents[1] / "support" / "killing.py"

    def run(*options):
        done = subprocess.run(
            [sys.executable, script, tmp_path / "kills", *options],
            env={**os.environ, "ILK_CACHE": str(shared_cache), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("number", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_at_random_moments(kills, number):
    at_random = kills("--kills", str(number), "--seed", str(number))
    assert len(at_random) == number
    assert [kill for kill in at_random if kill["differs"]] == []
    assert len({kill["config"] for kill in at_random}) == min(5, number)
    disturbed = [kill for kill in at_random if kill["step"] and kill["when"] != "after the end"]
    assert len(disturbed) >= number / 3


@pytest.mark.slow
def test_after_each_step(kills):
    after_steps = kills("--kills", "0", "--each-step", EACH_STEP)
    assert [kill for kill in after_steps if kill["differs"]] == []
    assert [kill["step"] for kill in after_steps] == list(range(1, len(after_steps) + 1))
    assert len(after_steps) == 15
    assert all(kill["lost_steps"] == 0 for kill in after_steps)
