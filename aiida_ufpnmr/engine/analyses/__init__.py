"""Analyses of trajectories: one file each, listed in one place."""
