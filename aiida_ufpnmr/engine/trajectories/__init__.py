"""Trajectories in files: H5MD, the pieces it is written in, runs in parts, and the paths of ions."""
