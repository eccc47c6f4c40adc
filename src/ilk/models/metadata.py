"""Metadata: the Spec and records that an exported file carries, so that there is no second file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from ilk.errors import ModelError
from ilk.models.bundle import CHECKSUM_KEY, RECORDS, SPEC_KEY, Bundle, check_records
from ilk.spec import Spec

# Of every exported network: what goes in, and what comes out, in this order.
INPUT = "pixels"
OUTPUTS = ("probabilities", "logits", "features")
RECORDS_KEY = "ilk.records"
RECEIPT_KEY = "ilk.receipt"
PRECISION_KEY = "ilk.precision"


def to_metadata(bundle: Bundle, *, public: bool = False) -> dict[str, str]:
    """Return a Bundle's Spec and records as strings by key, for any format's metadata.

    ``public`` metadata reveals nothing about the training pictures.
    """
    from safetensors.numpy import save

    if public:
        bundle = _published(bundle)
    spec = bundle.spec.to_json()
    records = {name: value for name, value in bundle.tensors.items() if name.startswith(RECORDS)}
    packed = base64.b64encode(save(records)).decode() if records else ""
    return {SPEC_KEY: spec, RECORDS_KEY: packed, CHECKSUM_KEY: _checksum(spec, packed)}


def _published(bundle: Bundle) -> Bundle:
    """Return a Bundle without records and provenance, and so without an OOD detector."""
    tensors = {k: v for k, v in bundle.tensors.items() if not k.startswith(RECORDS)}
    return Bundle(bundle.spec.model_copy(update={"provenance": {}, "novelty": None}), tensors)


def from_metadata(found: Mapping[str, str], source: str) -> Bundle:
    """Read the Spec and the records back; the Bundle has no weights.

    Raises
    ------
    ModelError
        They are missing, damaged, or were edited after the export.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if SPEC_KEY not in found:
        raise ModelError(
            f"{source} holds no Spec: it is damaged, or was not written by 'ilk export'. Export "
            "the model.safetensors of its run."
        )
    text, packed = found[SPEC_KEY], found.get(RECORDS_KEY, "")
    spec = Spec.from_json(text, source)
    if found.get(CHECKSUM_KEY) != _checksum(text, packed):
        raise ModelError(
            f"{source} is damaged: its Spec or its records do not match their checksum, as if "
            "edited. Export it again."
        )
    try:
        records = load(base64.b64decode(packed, validate=True)) if packed else {}
    except (SafetensorError, ValueError):
        raise ModelError(
            f"{source} is damaged: its records cannot be read. Export it again."
        ) from None
    check_records(spec, records, source)
    return Bundle(spec, records)


def _checksum(spec: str, packed: str) -> str:
    return hashlib.sha256(f"{spec}\n{packed}".encode()).hexdigest()
