"""Sites of ions by their coordination."""

from aiida_ufpnmr.engine.structure.sites import Sites, SiteSettings, find_sites, soft_coordination, stays

__all__ = ['SiteSettings', 'Sites', 'find_sites', 'soft_coordination', 'stays']
