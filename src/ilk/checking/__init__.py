"""Checking: what people do with the findings of a check."""
