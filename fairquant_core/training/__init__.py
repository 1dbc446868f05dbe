"""Training with rounded weights and learned widths, fitting without training, and the methods made of both."""
