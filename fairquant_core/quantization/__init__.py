"""The quantiser: rounding to any width, what is rounded, and the plan of the widths."""
