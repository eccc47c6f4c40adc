"""Inference: from pictures to features, or to the predictions of a Classifier."""
