"""The quantiser, sensitivity per group, allocation of bits, and training."""
