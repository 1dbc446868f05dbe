"""Saliency maps and how far they drift."""
