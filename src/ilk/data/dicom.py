"""DICOM: pictures of medical devices, read by pydicom."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from ilk.data.limits import refuse_too_large
from ilk.data.tiff import refuse_missing
from ilk.errors import DecodeError

DEFLATED = b"1.2.840.10008.1.2.1.99"  # a few bytes of it may become gigabytes
HEADER = 2048  # bytes in which the transfer syntax stands
GREY = {"MONOCHROME1", "MONOCHROME2"}


class DicomImageFile(ImageFile.ImageFile):
    """A DICOM file as Pillow sees pictures: one frame, the first unless `values` asks for others.

    Of what is stored in 8 bits without rescaling the mode is ``L`` or ``RGB``; else ``F``, as the
    device's values (Hounsfield units of a CT) are what counts.
    """

    format = "DICOM"
    format_description = "DICOM"

    def _open(self) -> None:
        import pydicom

        assert self.fp is not None
        data = self.fp.read()
        if DEFLATED in data[:HEADER]:
            raise DecodeError("is a deflated DICOM file, which is not read: save it uncompressed")
        self._dataset = dataset = pydicom.dcmread(io.BytesIO(data))
        if "PixelData" not in dataset or "Rows" not in dataset:
            kind = dataset.get("Modality", "")
            raise DecodeError(f"is a DICOM file without a picture {kind}".rstrip())
        self._size = (int(dataset.Columns), int(dataset.Rows))
        self.photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
        rescaled = dataset.get("RescaleSlope", 1) != 1 or dataset.get("RescaleIntercept", 0) != 0
        byte = int(dataset.BitsAllocated) <= 8 and not dataset.get("PixelRepresentation", 0)
        plain = byte and not rescaled and "ModalityLUTSequence" not in dataset
        self._mode = "RGB" if self.photometric not in GREY else "L" if plain else "F"
        self.white_is_zero = self.photometric == "MONOCHROME1"
        self.n_frames = max(1, int(dataset.get("NumberOfFrames", 1) or 1))
        self.is_animated = self.n_frames > 1
        self.tile = []

    def load(self) -> Any:
        """Decode the first frame, if its values have 8 bits."""
        if self._im is None:
            values, _ = self.values(None)
            if self.mode != "F" and values.dtype != np.uint8:
                raise DecodeError("has colours of more than 8 bits, which are not read")
            if self.mode == "L" and self.white_is_zero:
                values = 255 - values
            self.im = Image.fromarray(values).im
        return super().load()

    def values(self, frames: Sequence[int] | None) -> tuple[NDArray[Any], bool]:
        """Return the values ``[H, W]`` or ``[H, W, 3]`` of some frames, and whether 0 is white.

        Raises
        ------
        DecodeError
            A frame is not there, has colours, or cannot be read.
        """
        refuse_too_large(*self.size)
        if frames is None or self.mode == "RGB":
            return self._frame(0), self.white_is_zero
        refuse_missing(frames, self.n_frames)
        found = {frame: self._frame(frame) for frame in set(frames)}
        chosen = [found[frame] for frame in frames]
        values = chosen[0] if len(chosen) == 1 else np.stack(chosen, axis=-1)
        return values, self.white_is_zero

    def _frame(self, index: int) -> NDArray[Any]:
        from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

        try:
            values = pixel_array(self._dataset, index=index)
        except (NotImplementedError, RuntimeError) as error:  # a decoder that is not installed
            why = " ".join(str(error).split())
            raise DecodeError(f"is compressed in a way that cannot be read here: {why}") from None
        if self.photometric == "PALETTE COLOR":
            colours: NDArray[Any] = apply_color_lut(values, self._dataset)
            return colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8)
        if self.mode == "F":
            return np.asarray(apply_modality_lut(values, self._dataset), np.float32)
        return np.asarray(values)
