"""Bundle: a Spec and its weights, kept as one ``.safetensors`` file. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.errors import ModelError
from ilk.folder import readable_errors
from ilk.runtime import write_whole
from ilk.spec import SPLITS, Spec
from ilk.text import escaped

SPEC_KEY = "ilk.spec"
CHECKSUM_KEY = "ilk.sha256"
BACKBONE = "backbone."
HEAD_WEIGHT = "head.weight"
HEAD_BIAS = "head.bias"
SEEN_DIGESTS = "seen.digests"
SEEN_SPLITS = "seen.splits"
SEEN_BYTES = 8
HELD_OUT_LOGITS = "held_out.logits"
HELD_OUT_TARGETS = "held_out.targets"
KNOWN_FEATURES = "known.features"
RECORDS = ("seen.", "held_out.", "known.")  # of tensors that belong to no network


@dataclass(frozen=True)
class Bundle:
    """A trained model: its Spec, and its weights by name.

    ``tensors`` holds ``backbone.*`` under timm's names, and for a classifier of K classes on D
    features ``head.weight [K, D]`` and ``head.bias [K]``, all float32. Records of the training come
    with it: ``seen.digests [N, 8]`` and ``seen.splits [N]``, uint8, say which pictures were in
    which split; ``held_out.logits [M, K]``, float32, and ``held_out.targets [M]``, int64, belong to
    held-out pictures, to choose thresholds on; ``known.features [L, D]``, float16, are unit feature
    vectors of some training pictures.
    """

    spec: Spec
    tensors: Mapping[str, NDArray[Any]]

    @cached_property
    def backbone_digest(self) -> str:
        """Identify the backbone with its weights and its input: equal digests, equal features."""
        spec = self.spec
        record = [spec.backbone.name, spec.backbone.mean, spec.backbone.std, spec.preprocess.imgsz]
        backbone = {k: v for k, v in self.tensors.items() if k.startswith(BACKBONE)}
        return hashlib.sha256((json.dumps(record) + checksum(backbone)).encode()).hexdigest()

    def with_seen(self, splits: Mapping[str, str]) -> Bundle:
        """Return a Bundle that records which pictures, by content digest, were in which split."""
        keys = "".join(digest[: 2 * SEEN_BYTES] for digest in splits)
        digests = np.frombuffer(bytes.fromhex(keys), np.uint8).reshape(-1, SEEN_BYTES)
        codes = np.array([SPLITS.index(split) for split in splits.values()], np.uint8)
        return replace(self, tensors={**self.tensors, SEEN_DIGESTS: digests, SEEN_SPLITS: codes})

    def with_held_out(self, logits: NDArray[np.float32], targets: NDArray[np.int64]) -> Bundle:
        """Return a Bundle that records logits ``[M, K]`` and classes of held-out pictures."""
        held_out: dict[str, NDArray[Any]] = {HELD_OUT_LOGITS: logits, HELD_OUT_TARGETS: targets}
        return replace(self, tensors={**self.tensors, **held_out})

    def bare(self, spec: Spec) -> Bundle:
        """Return the backbone alone, with a Spec of its own."""
        backbone = {k: v for k, v in self.tensors.items() if k.startswith(BACKBONE)}
        return Bundle(spec, backbone)

    @property
    def held_out(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Logits ``[M, K]`` of held-out pictures, and their classes ``[M]``; M may be 0."""
        if HELD_OUT_LOGITS not in self.tensors:
            return np.zeros((0, len(self.spec.classes)), np.float32), np.zeros(0, np.int64)
        return self.tensors[HELD_OUT_LOGITS], self.tensors[HELD_OUT_TARGETS]

    def split_of(self, digest: str) -> str | None:
        """Return the split of the training that a picture was in; None if it was in none."""
        return self._seen.get(digest[: 2 * SEEN_BYTES])

    @cached_property
    def _seen(self) -> dict[str, str]:
        digests, codes = self.tensors.get(SEEN_DIGESTS), self.tensors.get(SEEN_SPLITS)
        if digests is None or codes is None:
            return {}
        return {d.tobytes().hex(): SPLITS[c] for d, c in zip(digests, codes, strict=True)}

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the head to features ``float32 [N, D]``; returns ``float32 [N, K]``."""
        weight, bias = self.tensors[HEAD_WEIGHT], self.tensors[HEAD_BIAS]
        result: NDArray[np.float32] = features @ weight.T + bias
        return result

    def save(self, path: Path) -> None:
        """Write the file atomically: to a temporary file, flushed and renamed.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        from safetensors.numpy import save

        # safetensors writes memory as it lies: a transposed array would come back scrambled.
        tensors = {name: np.asarray(value, order="C") for name, value in self.tensors.items()}
        data = save(
            tensors, metadata={SPEC_KEY: self.spec.to_json(), CHECKSUM_KEY: checksum(tensors)}
        )
        with readable_errors(path, None):
            write_whole(path, data)

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read a file that came from outside. Nothing in it is ever executed.

        Raises
        ------
        ModelError
            It does not exist, is damaged, foreign or of a newer version.
        """
        from safetensors import SafetensorError, safe_open

        name = escaped(path)
        if not path.is_file():
            what = "is a folder without a model.safetensors" if path.is_dir() else "is not there"
            raise ModelError(
                f"The model {name} {what}; where pictures are named too, the model comes first."
            )
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
                expected = (file.metadata() or {}).get(CHECKSUM_KEY)
        except (SafetensorError, OSError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{name} is not a whole .safetensors file ({error}). Copy or train it again."
            ) from None
        if expected != checksum(tensors):
            raise ModelError(
                f"{name} is damaged: its weights do not match their checksum. Copy it again."
            )
        _check_head(spec, tensors, name)
        check_records(spec, tensors, name)
        return cls(spec, tensors)


def is_bundle(path: Path) -> bool:
    """Return whether a file was written by `Bundle.save`, whole or damaged, by its header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return SPEC_KEY in (file.metadata() or {})
    except (SafetensorError, OSError, TypeError, AttributeError):
        return False


def checksum(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of tensors with their names, types and shapes."""
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        hasher.update(f"{name}{tensor.dtype.str}{tensor.shape}".encode())
        hasher.update(np.ascontiguousarray(tensor).tobytes())
    return hasher.hexdigest()


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


def check_records(spec: Spec, tensors: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse records of a training that do not hang together, or do not fit the Spec.

    Raises
    ------
    ModelError
        ``name`` is what the message calls the file.
    """
    _check_seen(tensors, name)
    _check_held_out(spec, tensors, name)


def _check_seen(tensors: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse a record of seen pictures that does not hang together."""
    digests, codes = tensors.get(SEEN_DIGESTS), tensors.get(SEEN_SPLITS)
    if digests is None and codes is None:
        return
    fits = (
        digests is not None
        and codes is not None
        and digests.dtype == codes.dtype == np.uint8
        and codes.ndim == 1
        and digests.shape == (len(codes), SEEN_BYTES)
        and codes.shape == (len(codes),)
        and codes.max(initial=0) < len(SPLITS)
    )
    if not fits:
        raise ModelError(f"{name} is damaged: its record of the pictures it has seen is broken.")


def _check_held_out(spec: Spec, tensors: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse records of held-out and of known pictures that do not fit the Spec."""
    logits, targets = tensors.get(HELD_OUT_LOGITS), tensors.get(HELD_OUT_TARGETS)
    known, novelty = tensors.get(KNOWN_FEATURES), spec.novelty
    fits = (logits is None) == (targets is None) and (known is None) == (novelty is None)
    if logits is not None and targets is not None:
        fits = fits and _are_answers(logits, targets, len(spec.classes))
    if known is not None and novelty is not None:
        fits = fits and known.dtype == np.float16 and known.ndim == 2
        fits = fits and known.shape[1] == spec.backbone.features
        fits = fits and novelty.neighbours <= len(known) and bool(np.isfinite(known).all())
    if not fits:
        raise ModelError(f"{name} is damaged: its record of held-out pictures is broken.")


def _are_answers(logits: NDArray[Any], targets: NDArray[Any], classes: int) -> bool:
    return (
        logits.dtype == np.float32
        and targets.dtype == np.int64
        and targets.ndim == 1
        and logits.shape == (len(targets), classes)
        and bool(np.isfinite(logits).all())
        and bool(((targets >= 0) & (targets < classes)).all())
    )
