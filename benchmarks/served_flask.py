"""The guide's Flask app: ``python served_flask.py MODEL PORT``.

gunicorn takes ``served_flask:app``, with the model in ``PEER_MODEL``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MODEL = "PEER_MODEL"


def flask_app():
    """Return the guide's service: it runs eager PyTorch, one picture at a time."""
    import torch
    from flask import Flask, jsonify, request
    from peers import Guide
    from PIL import Image

    from ilk.models.bundle import Bundle

    bundle = Bundle.load(Path(os.environ[MODEL]))
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


if os.environ.get(MODEL) and "gunicorn" in sys.modules:
    app = flask_app()


if __name__ == "__main__":
    os.environ[MODEL] = sys.argv[1]
    flask_app().run(host="127.0.0.1", port=int(sys.argv[2]))  # threaded, as it is by default
