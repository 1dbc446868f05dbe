"""What rounding each channel costs each group."""
