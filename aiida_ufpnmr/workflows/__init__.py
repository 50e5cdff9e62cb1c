"""WorkChains, which lead from structures over labels and models to a decay time."""
