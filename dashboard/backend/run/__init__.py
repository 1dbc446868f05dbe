"""Runs of methods on a case: planned, compared, and swept over budgets and seeds."""
