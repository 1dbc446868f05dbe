"""Exact-bit packing, packed checkpoints and bundles."""
