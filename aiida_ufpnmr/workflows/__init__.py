"""WorkChains: from structures and models to a decay time, and from labelled structures to everything."""
