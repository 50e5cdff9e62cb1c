"""The sub-commands of ``ufpnmr``: each reads files, calls one function of the engine and writes files."""
