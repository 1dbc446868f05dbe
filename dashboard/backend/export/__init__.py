"""What leaves: exported files, and the bundle around them."""
