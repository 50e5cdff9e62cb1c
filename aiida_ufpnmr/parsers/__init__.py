"""Parsers, one a CalcJob: from the files of a command to nodes."""
