"""Cohorts: images, labels, skin-tone groups and splits."""
