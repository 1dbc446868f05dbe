"""What was measured, who looked at it, and what was decided."""
