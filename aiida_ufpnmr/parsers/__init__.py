"""Parsers, which make nodes of the files that a command left."""
