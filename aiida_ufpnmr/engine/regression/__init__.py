"""Bayesian ridge regression, for potentials and EFG models alike: it knows rows, targets and groups, and no physics."""
