"""Work on finished runs: queries along their provenance, reports, archives; and the profile that holds them."""
