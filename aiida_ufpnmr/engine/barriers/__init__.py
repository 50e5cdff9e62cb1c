"""Barriers of single hops: cut out of a trajectory, quenched, and climbed by a nudged elastic band."""
