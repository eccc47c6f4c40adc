from __future__ import annotations

import numpy as np
import pytest

from ilk.checking.findings.groups import suspected_groups
from ilk.data.catalog import Picture

NAMES = {
    "a name's beginning": lambda g, i: f"cells/P{g:02d}_{i}.png",
    "folders": lambda g, i: f"cells/session{g}/{i}.png",
}


def data(name, spread=0.05, groups=24, each=8):
    """Return pictures, features and targets: each group is of one class, at a place of its own."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(groups), each)
    centres = rng.normal(size=(groups, 20))
    features = centres[group] * (1 if spread < 1 else 0) + spread * rng.normal(
        size=(len(group), 20)
    )
    targets = group % 2
    features[:, 0] += 3 * targets * (spread >= 1)
    pictures = [Picture(name(g, i), digest=f"{i}") for i, g in enumerate(group)]
    return pictures, features.astype(np.float32), targets


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_groups_that_make_a_score_too_high_are_suspected(name):
    found = suspected_groups(*data(name), 2)
    assert found is not None
    assert found.number == 24
    assert found.pictures == 8
    assert found.by_picture > 0.9
    assert found.by_group < 0.75
    assert "--group-by" in str(found)


def test_names_that_mean_nothing_are_not_suspected():
    assert suspected_groups(*data(NAMES["folders"], spread=1), 2) is None


@pytest.mark.parametrize("name", ["cat.{}.jpg", "IMG_{}.jpg", "{}.jpg"])
def test_numbered_names_are_no_groups(name):
    pictures, features, targets = data(lambda _, i: name.format(i))
    assert suspected_groups(pictures, features, targets, 2) is None


def test_known_groups_are_not_suspected():
    pictures, features, targets = data(NAMES["folders"])
    known = [Picture(p.path, digest=p.digest, group="x") for p in pictures]
    assert suspected_groups(known, features, targets, 2) is None
