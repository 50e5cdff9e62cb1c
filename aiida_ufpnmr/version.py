"""The version of the package, which files record and the command lines print."""

__version__ = '0.2.0'
