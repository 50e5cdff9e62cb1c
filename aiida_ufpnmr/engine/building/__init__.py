"""Cells to compute on: ordered ones of disordered crystals, supercells, strained cells, packed glasses."""
