"""Molecular dynamics of one system or of many replicas on a GPU."""
