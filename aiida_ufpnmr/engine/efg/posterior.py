"""The Gaussian posterior of an EFG model's weights, as expected errors and as a grade.

The rows have a Gaussian prior of unit width and the labels Gaussian noise of the penalty's width, so the mean variance
of the five components of an ion with rows x is v = penalty · tr(x A⁻¹ xᵀ)/5, A = XᵀX + penalty (Bishop, Pattern
Recognition and Machine Learning, ch. 3.3); with sparse kernels, what the points do not span is added in full
(Quiñonero-Candela & Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005), their DTC). How v becomes an error is measured on
withheld structures. The trace makes it one number an ion, which no rotation changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aiida_ufpnmr.engine.efg.design import Design
from aiida_ufpnmr.engine.efg.domain import Domain
from aiida_ufpnmr.engine.efg.environments import Environments
from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.efg.tensors import KHZ_PER_MB_AU, moment_of
from aiida_ufpnmr.engine.regression.calibration import Noise
from aiida_ufpnmr.engine.regression.posterior import squared_lengths, whiten


def frequency_error_khz(error: np.ndarray | float, isotope: str | Isotope) -> np.ndarray:
    """Expected error of ω_Q in kHz from that of a component of the tensor (a.u.); the same for any field.

    b·V·b is a sum of the five components with factors whose squares add up to 2/3.
    """
    return KHZ_PER_MB_AU * abs(moment_of(isotope)) * np.sqrt(2 / 3) * error


@dataclass(frozen=True)
class EfgPrediction:
    """Tensors with what is known of their errors.

    Attributes:
        tensors: (n_ions, 3, 3) in a.u.
        error: (n_ions,) expected error (one standard deviation) of each of the five components, a.u.
        grade: (n_ions,) extrapolation grade; above 1 the surroundings are stranger than those of 95 % of the ions of
            structures that were withheld from the fit. Errors and grades are empty where they were not asked for.
    """

    tensors: np.ndarray
    error: np.ndarray = field(default_factory=lambda: np.zeros(0))
    grade: np.ndarray = field(default_factory=lambda: np.zeros(0))


def variances(design: Design, whitening: np.ndarray, penalty: float, environments: Environments) -> np.ndarray:
    """Posterior variance of a component, mean over the five, (n_ions,); 1 is a typical variance of the prior.

    Args:
        whitening: (n_columns, n_columns) float32 lower triangular W with WᵀW = A⁻¹.
    """
    whitened, unexplained = whitened_rows(design, whitening, environments)
    squares = squared_lengths(whitened).reshape(-1, 5)
    return penalty * squares.mean(axis=1) + unexplained


def whitened_rows(design: Design, whitening: np.ndarray, environments: Environments) -> tuple[np.ndarray, np.ndarray]:
    """W xᵀ of the components of ions, (n_columns, 5 n_ions), and the variance (n_ions,) that no column explains.

    Their products are the covariance of what the model predicts, in units of the variance of the labels' noise.
    """
    rows, unexplained = design.rows(environments)
    return whiten(whitening, rows.reshape(-1, rows.shape[2]).T), unexplained


@dataclass(frozen=True, eq=False)
class EfgPosterior:
    """The posterior of a model.

    Attributes:
        design: how environments become rows.
        whitening: (n_columns, n_columns) float32 lower triangular W; WᵀW is the inverse of XᵀX + penalty.
        penalty: of the ridge.
        noise: how variances become errors of a component, a.u.
        domain: the training set, from which the grades follow.
    """

    design: Design
    whitening: np.ndarray
    penalty: float
    noise: Noise
    domain: Domain

    def judge(self, environments: Environments) -> tuple[np.ndarray, np.ndarray]:
        """Expected errors (a.u.) and grades of ions, (n_ions,) each."""
        found = variances(self.design, self.whitening, self.penalty, environments)
        return self.noise.error(found), self.domain.grades(environments)

    def whitened_rows(self, environments: Environments) -> np.ndarray:
        """(n_columns, 5 n_ions); see :func:`whitened_rows`."""
        return whitened_rows(self.design, self.whitening, environments)[0]
