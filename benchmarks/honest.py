"""Claims: probabilities are honest, sets keep their promise, strangers are told, labels doubted.

On CIFAR-10 by the scratch recipe (a tenth of the training pictures held out) and on cats_dogs by the
probe. `--model RUN` takes a CIFAR-10 model that is trained already.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from common import at_once, headline, ilk, scratch, spread
from PIL import Image

import ilk as package
from ilk.data.catalog import Catalog, Picture, from_arrays
from ilk.data.checks.labels import suspicion
from ilk.evaluation import conformal
from ilk.evaluation.intervals import wilson
from ilk.evaluation.unknown import auroc
from ilk.inference import softmax
from ilk.inference.novelty import _distances, _energy

SPLITS = 20
PROMISED = 0.9
