"""Cases and what they are made of: a cohort, a classifier, groups and limits."""
