"""Sites of ions by their coordination, and units such as PS4 by their bonds."""

from aiida_ufpnmr.engine.structure.sites import Sites, SiteSettings, find_sites, soft_coordination, stays
from aiida_ufpnmr.engine.structure.units import Units, find_units

__all__ = ['SiteSettings', 'Sites', 'Units', 'find_sites', 'find_units', 'soft_coordination', 'stays']
