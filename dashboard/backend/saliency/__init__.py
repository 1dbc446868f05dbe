"""Maps of where classifiers look, made and shown."""
