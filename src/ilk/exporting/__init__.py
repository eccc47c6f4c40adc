"""Exporting: a model in another format, with the proof that it agrees; the fastest; benchmarks."""
