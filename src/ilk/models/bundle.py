"""Bundle: a Spec and its weights, kept as one ``.safetensors`` file. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.errors import ModelError, OutputError, shown
from ilk.spec import Spec

SPEC_KEY = "ilk.spec"
BACKBONE = "backbone."
HEAD_WEIGHT = "head.weight"
HEAD_BIAS = "head.bias"


@dataclass(frozen=True)
class Bundle:
    """A trained model: its Spec, and its weights by name.

    ``tensors`` holds ``backbone.*`` under timm's names, and for a classifier of K classes on D
    features ``head.weight [K, D]`` and ``head.bias [K]``, all float32.
    """

    spec: Spec
    tensors: Mapping[str, NDArray[Any]]

    @cached_property
    def backbone_digest(self) -> str:
        """Identify the backbone with its weights and its input: equal digests, equal features."""
        spec = self.spec
        record = [spec.backbone.name, spec.backbone.mean, spec.backbone.std, spec.preprocess.imgsz]
        hasher = hashlib.sha256(json.dumps(record).encode())
        for name in sorted(self.tensors):
            if name.startswith(BACKBONE):
                tensor = self.tensors[name]
                hasher.update(f"{name}{tensor.dtype.str}{tensor.shape}".encode())
                hasher.update(np.ascontiguousarray(tensor).data)
        return hasher.hexdigest()

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the head to features ``float32 [N, D]``; returns ``float32 [N, K]``."""
        weight, bias = self.tensors[HEAD_WEIGHT], self.tensors[HEAD_BIAS]
        result: NDArray[np.float32] = features @ weight.T + bias
        return result

    def save(self, path: Path) -> None:
        """Write the file: a new one beside it, flushed, then renamed, so never a half of one.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        from safetensors.numpy import save

        # safetensors writes memory as it lies: a transposed array would come back scrambled.
        tensors = {name: np.asarray(value, order="C") for name, value in self.tensors.items()}
        data = save(tensors, metadata={SPEC_KEY: self.spec.to_json()})
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            try:
                with part.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{shown(path)} cannot be written: {error.strerror}.") from None

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read a file that came from outside. Nothing in it is ever executed.

        Raises
        ------
        ModelError
            There is none, or it is damaged, foreign or of a newer version.
        """
        from safetensors import SafetensorError, safe_open

        name = shown(path)
        if not path.is_file():
            what = "is a folder without a model.safetensors" if path.is_dir() else "is not there"
            raise ModelError(f"The model {name} {what}. 'ilk train' writes one.")
        try:
            with safe_open(path, framework="numpy") as file:
                text = (file.metadata() or {}).get(SPEC_KEY)
                if text is None:
                    raise ModelError(
                        f"{name} holds weights but no Spec: it was not written by ilk. "
                        "Pass such files to 'ilk train --weights' instead."
                    )
                spec = Spec.from_json(text, name)
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{name} is not a whole .safetensors file ({error}). Copy or train it again."
            ) from None
        _check_head(spec, tensors, name)
        return cls(spec, tensors)


def _check_head(spec: Spec, tensors: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse a head that does not fit the classes and features that the Spec promises."""
    if not spec.classes:
        return
    expected = {
        HEAD_WEIGHT: (len(spec.classes), spec.backbone.features),
        HEAD_BIAS: (len(spec.classes),),
    }
    for key, shape in expected.items():
        tensor = tensors.get(key)
        if tensor is None or tensor.shape != shape or tensor.dtype != np.float32:
            found = "missing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
            raise ModelError(
                f"{name} is damaged: {key} is {found}, the Spec asks for float32 {list(shape)}."
            )
        if not np.isfinite(tensor).all():
            raise ModelError(f"{name} is damaged: {key} holds numbers that are not finite.")
