"""What one does with finished runs: queries along their provenance, reports, archives."""
