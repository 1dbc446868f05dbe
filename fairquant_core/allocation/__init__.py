"""Which channel gets how many bits, so that the worst-served group loses least."""
