from __future__ import annotations

import pytest

from ilk.models.backbones import KNOWN, SMALLNET, _from_timm, create
from ilk.models.weights import PACKAGES, pretrained


@pytest.mark.parametrize("name", [name for name in KNOWN if name != SMALLNET])
def test_the_table_is_timms_own(name):
    assert _from_timm(name) == KNOWN[name]


def test_the_table_knows_ilks_own_network():
    network, known = create(SMALLNET), KNOWN[SMALLNET]
    assert network.num_features == known.features
    assert sum(p.numel() for p in network.parameters()) == known.parameters


@pytest.mark.parametrize("name", PACKAGES)
def test_each_weight_package_loads_and_is_trained(name):
    model, source = pretrained(name)
    assert source == f"package {PACKAGES[name].project}"
    assert sum(p.numel() for p in model.parameters()) == KNOWN[name].parameters
    state = model.state_dict()
    variances = [v for k, v in state.items() if k.endswith("running_var")]
    assert all((v >= 0).all() for v in variances)
    assert all(int(v) >= 0 for k, v in state.items() if k.endswith("num_batches_tracked"))
    assert any((v - 1).abs().max() > 0.1 for v in variances)  # random weights have all ones
