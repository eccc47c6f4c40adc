"""Evaluation: what a classifier's answers are worth, in numbers, plots and a report."""
