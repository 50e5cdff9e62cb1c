"""Cells to compute on: ordered ones of disordered crystals, supercells, strained and drawn cells, packed glasses."""
