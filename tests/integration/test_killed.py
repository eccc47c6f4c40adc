"""A training that is killed, at any moment, ends just as if it had been left in peace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it forks")
KILLS = 20
EACH_STEP = "scratch: Muon"


@pytest.fixture(scope="module")
def kills(shared_cache, tmp_path_factory):
    """A record of each kill; see `killing.py`, which needs a process of its own."""
    script, folder = (
        Path(__file__).parents[1] / "support" / "killing.py",
        tmp_path_factory.mktemp("kills"),
    )
    done = subprocess.run(
        [sys.executable, script, folder, "--kills", str(KILLS), "--each-step", EACH_STEP],
        env={**os.environ, "ILK_CACHE": str(shared_cache), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_at_random_moments(kills):
    at_random = kills[:KILLS]
    assert [kill for kill in at_random if kill["differs"]] == []
    assert len({kill["config"] for kill in at_random}) == 5
    disturbed = [kill for kill in at_random if kill["step"] and kill["when"] != "after the end"]
    assert len(disturbed) >= KILLS / 3


def test_after_each_step(kills):
    after_steps = kills[KILLS:]
    assert [kill for kill in after_steps if kill["differs"]] == []
    assert [kill["step"] for kill in after_steps] == list(range(1, len(after_steps) + 1))
    assert len(after_steps) == 15
    assert all(kill["lost_steps"] == 0 for kill in after_steps)
