"""Processes with a known decay time, as tensor components along a trajectory, for the tests of intervals."""

import numpy as np

TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


def components(axis):
    """Five components of the axial tensor along unit vectors (..., 3), orthonormal."""
    x, y, z = np.moveaxis(np.asarray(axis, float), -1, 0)
    return np.stack([2 * x * y, 2 * y * z, (3 * z * z - 1) / np.sqrt(3), 2 * x * z, x * x - y * y], -1)


def jumping(rng, n_frames, n_ions, probability):
    """(frames, ions) number of jumps so far."""
    jumps = rng.random((n_frames, n_ions)) < probability
    jumps[0] = False
    return np.cumsum(jumps, axis=0)


def noise(rng, x, times):
    """White noise of so many times the variance of a signal."""
    return x + np.sqrt(times) * x.std() * rng.standard_normal(x.shape)


def one_decay(rng, n_frames, n_ions, tau):
    """A Gaussian process with an exponential correlation."""
    from scipy.signal import lfilter

    keep = np.exp(-1 / tau)
    drive = rng.standard_normal((n_frames, n_ions))
    drive[1:] *= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], drive, axis=0)


def two_sites(rng, n_frames, n_ions, tau, share=0.3):
    """Jumps between two tensors of other axes with populations of 0.3 and 0.7: 1/τ is the sum of both rates."""
    moved = 1 - np.exp(-1 / tau)
    # in each frame an ion forgets its site with the chance 1 − exp(−1/τ) and takes one by its population
    renewed = jumping(rng, n_frames, n_ions, moved)
    drawn = rng.random((renewed.max() + 1, n_ions)) < share
    site = np.take_along_axis(drawn, renewed, axis=0).astype(int)
    return components(np.array([[0.0, 0, 1], [np.sin(1.0), 0, np.cos(1.0)]]))[site]


def n_sites(rng, n_frames, n_ions, tau):
    """Jumps among four sites with tetrahedral axes and escape rate Γ, each to any other: 1/τ = 4Γ/3."""
    renewed = jumping(rng, n_frames, n_ions, 1 - np.exp(-1 / tau))
    drawn = rng.integers(0, 4, (renewed.max() + 1, n_ions))
    # drawing one of all four after forgetting is leaving for another one with three quarters of that rate
    return components(TETRAHEDRON)[np.take_along_axis(drawn, renewed, axis=0)]


def isotropic_jumps(rng, n_frames, n_ions, tau):
    """Jumps to random orientations with rate 1/τ."""
    renewed = jumping(rng, n_frames, n_ions, 1 - np.exp(-1 / tau))
    axis = rng.standard_normal((renewed.max() + 1, n_ions, 3))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    return components(np.take_along_axis(axis, renewed[..., None], axis=0))


def rotational_diffusion(rng, n_frames, n_ions, tau):
    """An axis that diffuses over the sphere with τ = 1/6D: steps whose mean P₂ is exp(−1/τ)."""
    # a turn by a Rayleigh-distributed angle of mean square s has mean P₂ close to 1 − 3s/2; solved on a fixed sample
    ladder = np.sqrt(-2 * np.log(1 - (np.arange(4000) + 0.5) / 4000))
    low, high = 0.0, 1.0
    for _ in range(60):
        width = 0.5 * (low + high)
        falls = np.mean(1.5 * np.cos(width * ladder) ** 2 - 0.5) < np.exp(-1 / tau)
        low, high = (low, width) if falls else (width, high)
    axis = rng.standard_normal((n_ions, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    found = np.empty((n_frames, n_ions, 3))
    angle = width * ladder[rng.integers(0, len(ladder), (n_frames, n_ions, 1))]
    cosine, sine = np.cos(angle), np.sin(angle)
    away = rng.standard_normal((n_frames, n_ions, 3))
    for frame in range(n_frames):
        found[frame] = axis
        across = away[frame] - (away[frame] * axis).sum(1, keepdims=True) * axis
        across /= np.sqrt((across * across).sum(1, keepdims=True))
        axis = cosine[frame] * axis + sine[frame] * across
    return components(found)


def vibrating_jumps(rng, n_frames, n_ions, tau):
    """Jumps between ± 1 under a lasting vibration of their variance and white noise of five times it."""
    site = 1 - 2.0 * ((jumping(rng, n_frames, n_ions, 0.5 * (1 - np.exp(-1 / tau))) + rng.integers(0, 2, n_ions)) % 2)
    phase = 2 * np.pi * np.arange(n_frames)[:, None] / 7.7 + rng.uniform(0, 2 * np.pi, n_ions)
    return site + np.sqrt(2) * np.cos(phase) + np.sqrt(5) * rng.standard_normal(site.shape)


def equivalent_sites(rng, n_frames, n_ions, tau):
    """Jumps between two sites whose tensors are mirror images: equal frequency along z, turned about z otherwise."""
    site = (jumping(rng, n_frames, n_ions, 0.5 * (1 - np.exp(-1 / tau))) + rng.integers(0, 2, n_ions)) % 2
    return components(np.array([[0.8, 0, 0.6], [0, 0.8, 0.6]]))[site]


def random_walk(rng, n_frames, n_ions, step=0.1):
    """Paths (frames, ions, 3) of steps with so much standard deviation along each axis: D = step²/2 a frame."""
    return np.cumsum(step * rng.standard_normal((n_frames, n_ions, 3)), axis=0)


def caged(rng, n_frames, n_ions, tau, amplitude=0.5):
    """Paths in a harmonic cage (Ornstein–Uhlenbeck): relaxation time in frames, standard deviation along each axis."""
    return amplitude * np.stack([one_decay(rng, n_frames, n_ions, tau) for _ in range(3)], axis=-1)


def fractional_walk(rng, n_frames, n_ions, exponent, step=0.1):
    """Fractional Brownian paths, whose MSD is 3 step² lag^exponent, by circulant embedding (Davies and Harte 1987)."""
    lag = np.arange(n_frames)
    covariance = 0.5 * (np.abs(lag + 1.0) ** exponent - 2 * np.abs(lag) ** exponent + np.abs(lag - 1.0) ** exponent)
    circle = np.maximum(np.fft.fft(np.concatenate([covariance, covariance[-2:0:-1]])).real, 0)
    white = rng.standard_normal((2, len(circle), n_ions, 3))
    steps = np.fft.fft(np.sqrt(circle / len(circle))[:, None, None] * (white[0] + 1j * white[1]), axis=0).real
    return step * np.cumsum(steps[:n_frames], axis=0)


def waiting_walk(rng, n_frames, n_ions, exponent, length=1.0):
    """Paths of jumps after waiting times of at least a frame; P(longer than t) = t^−exponent has no mean."""
    paths = np.zeros((n_frames, n_ions, 3))
    for ion in range(n_ions):
        times = np.cumsum(rng.random(4 * n_frames) ** (-1 / exponent))
        times = times[times < n_frames].astype(int)
        np.add.at(paths[:, ion], times, length * rng.standard_normal((len(times), 3)))
    return np.cumsum(paths, axis=0)


def hopping(rng, n_frames, n_ions, probability, length=3.0):
    """Paths of hops of one length in random directions: D = probability length²/6 a frame."""
    hops = rng.random((n_frames, n_ions, 1)) < probability
    direction = rng.standard_normal((n_frames, n_ions, 3))
    return length * np.cumsum(hops * direction / np.linalg.norm(direction, axis=-1, keepdims=True), axis=0)


def vibrating(rng, paths, amplitude=0.3, period=3.3):
    """Paths with a vibration and noise on top: rms amplitude along each axis in Å, period in frames."""
    n_frames, n_ions = paths.shape[:2]
    phase = 2 * np.pi * np.arange(n_frames)[:, None, None] / period + rng.uniform(0, 2 * np.pi, (n_ions, 3))
    return paths + amplitude * np.sqrt(2) * np.cos(phase) + 0.1 * rng.standard_normal(paths.shape)
