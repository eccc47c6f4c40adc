"""ilk's model behind LitServe, with its batching: ``python served_litserve.py MODEL PORT``."""

from __future__ import annotations

import os
import sys

import litserve
import numpy as np

import ilk
from ilk.data.decode import decode

MODEL = "PEER_EXPORTED"


class Api(litserve.LitAPI):
    def setup(self, device):
        self.classifier = ilk.load(os.environ[MODEL])

    def decode_request(self, request):
        return decode(request["image"].file.read(), self.classifier.spec.preprocess)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, pixels):
        return list(self.classifier.predict_batch(pixels))

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return output.to_dict()


def main() -> None:
    os.environ[MODEL] = sys.argv[1]
    api = Api(max_batch_size=32, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", timeout=60)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error"
    )


if __name__ == "__main__":
    main()
