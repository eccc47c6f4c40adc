"""Training: how a catalog becomes a Bundle, and the folder that a training writes."""
