"""Rearrangements of ions and the structure that foretells them; Chen 2023."""
