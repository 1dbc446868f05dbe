"""The report of a case, written and listed."""
