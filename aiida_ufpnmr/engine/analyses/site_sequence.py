"""Do hops and changes of site tell the same story? Hops come from displacements, sites from neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.structure.sites import Sites
from aiida_ufpnmr.engine.transport.hops import Hops


@dataclass(frozen=True)
class SiteAgreement:
    """Hops by the sites between which they lead, and changes of site by whether there is a hop.

    Attributes:
        names: of the sites.
        hops: (n_sites, n_sites) number of hops from each site to each.
        changes: number of changes of site.
        changes_with_hop: of these, how many have a hop of the same ion within a residence time and a window.
    """

    names: tuple[str, ...]
    hops: np.ndarray
    changes: int
    changes_with_hop: int


def site_agreement(hops: Hops, sites: Sites) -> SiteAgreement:
    """Compare hops with the sites of the same ions in the same frames.

    The site of a hop is that of a residence time before, and after: in between an ion is nowhere. A change of site
    without a hop is one in which the neighbours moved, not the ion; a hop without a change leads to a site of the same
    kind.
    """
    n_frames = len(sites.site)
    reach = hops.residence + hops.window
    before = sites.site[np.maximum(hops.frame - hops.residence, 0), hops.ion]
    after = sites.site[np.minimum(hops.frame + hops.residence, n_frames - 1), hops.ion]
    counts = np.zeros((len(sites.names), len(sites.names)), int)
    np.add.at(counts, (before, after), 1)
    frame, ion = np.nonzero(np.diff(sites.site, axis=0))
    with_hop = 0
    for one in np.unique(ion):
        there, hopped = frame[ion == one], hops.frame[hops.ion == one]
        if len(hopped):
            right = np.searchsorted(hopped, there)
            left = np.abs(there - hopped[np.maximum(right - 1, 0)])
            nearest = np.minimum(left, np.abs(hopped[np.minimum(right, len(hopped) - 1)] - there))
            with_hop += int((nearest <= reach).sum())
    return SiteAgreement(sites.names, counts, len(frame), with_hop)
