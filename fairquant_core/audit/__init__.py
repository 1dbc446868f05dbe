"""Metrics per group, paired comparison and verdicts; numpy, pandas and scipy only."""
