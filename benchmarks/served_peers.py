"""The other side of the serving benchmarks: the guide's Flask app, and LitServe with ilk's model.

Run as ``python served_peers.py flask|litserve MODEL PORT``; gunicorn takes ``served_peers:app``,
with the model in ``PEER_MODEL``.
"""

from __future__ import annotations

import os
import sys

MODEL = "PEER_MODEL"


def flask_app():
    """Return the guide's service: it runs eager PyTorch, one picture at a time."""
    import torch
    from flask import Flask, jsonify, request
    from peers import Guide
    from PIL import Image

    from ilk.models.bundle import Bundle

    bundle = Bundle.load(os.environ[MODEL])
    guide, classes = Guide(bundle), bundle.spec.classes
    flask = Flask(__name__)

    @flask.post("/predict")
    def predict():
        image = Image.open(request.files["image"].stream).convert("RGB")
        probabilities = guide.probabilities(image)
        best = int(probabilities.argmax())
        return jsonify({"class": classes[best], "probability": float(probabilities[best])})

    with torch.no_grad():
        guide.probabilities(Image.new("RGB", (500, 375)))
    return flask


def litserve(model: str, port: int) -> None:
    """Serve ilk's own engine by LitServe, with its batching."""
    import litserve
    import numpy as np

    import ilk
    from ilk.data.decode import decode

    class Api(litserve.LitAPI):
        def setup(self, device):
            self.classifier = ilk.load(model)

        def decode_request(self, request):
            return decode(request["image"].file.read(), self.classifier.spec.preprocess)

        def batch(self, inputs):
            return np.stack(inputs)

        def predict(self, pixels):
            return list(self.classifier.named(pixels))

        def unbatch(self, output):
            return output

        def encode_response(self, output):
            return output.to_dict()

    api = Api(max_batch_size=32, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")


if os.environ.get(MODEL) and "gunicorn" in sys.modules:
    app = flask_app()


if __name__ == "__main__":
    kind, path, port = sys.argv[1:]
    if kind == "flask":
        os.environ[MODEL] = path
        flask_app().run(host="127.0.0.1", port=int(port))  # threaded, as it is by default
    else:
        litserve(path, int(port))
