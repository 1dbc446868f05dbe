"""Figures and small interface parts, pure functions of data."""
