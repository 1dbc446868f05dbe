"""Classifiers: creation, safe loading, inference."""
