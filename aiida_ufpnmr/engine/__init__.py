"""All numerical work. Nothing below this package imports AiiDA."""

from aiida_ufpnmr.engine import compiled

compiled.choose_cache()
