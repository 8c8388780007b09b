"""Parametric galaxies, drawn by GalSim and cached."""

from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fans._validation import number, require
from fans.images.cache import cached
from fans.images.request import Request
from fans.images.synthetic import on_sky

DISK_RADIUS = (0.06, 0.14)  # half-light radius, of the image size
BULGE_RADIUS = (0.2, 0.5)  # of the disk's
BULGE_INDEX = 3.0  # Sersic index; 1 is an exponential disk, 4 a de Vaucouleurs spheroid
BULGE_FLUX = (0.1, 0.6)  # of the disk's
KNOTS = (10, 40)
KNOTS_FLUX = (0.05, 0.3)  # of the disk's
AXIS_RATIO = (0.3, 1.0)
OFFSET = 1 / 16  # largest distance from the centre along each axis, of the image size
PSF_FWHM, PSF_BETA = 2.5, 3.0  # Moffat; pixels


def galaxies(request: Request, *, noise: float = 0.005) -> NDArray[np.float32]:
    """Bulge, disk and star-forming knots behind a Moffat point-spread function, plus white noise.

    The cache holds the noiseless images, so that all noise levels share them.
    """
    noise = number("noise", noise, low=0, high=1)
    # The recipe is this file: a changed galaxy must not be answered from an old cache.
    recipe = sha256(Path(__file__).read_bytes()).hexdigest()
    key = f"{request.size} {request.seed} {request.split} galsim {_galsim_version(request)} {recipe}"
    light = cached("galaxies", key, request.count, lambda i: _galaxy(request.rng(i), request.size)[None])
    return on_sky(request, light, noise)


def _galsim_version(request: Request) -> str:
    # Reading the metadata costs nothing, importing GalSim most of a second: a cached set need not import it.
    try:
        return version("galsim")
    except PackageNotFoundError:
        return str(require("galsim", package="galsim", name=repr(request.name), extra="images").__version__)


def _galaxy(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    galsim = require("galsim", package="galsim", name="'galaxies'", extra="images")
    radius = size * rng.uniform(*DISK_RADIUS)
    disk = galsim.Exponential(half_light_radius=radius)
    bulge = galsim.Sersic(n=BULGE_INDEX, half_light_radius=radius * rng.uniform(*BULGE_RADIUS))
    knots = galsim.RandomKnots(
        int(rng.integers(*KNOTS, endpoint=True)),
        half_light_radius=radius,
        rng=galsim.BaseDeviate(int(rng.integers(1, 2**31))),
    )
    body = disk + rng.uniform(*BULGE_FLUX) * bulge + rng.uniform(*KNOTS_FLUX) * knots
    shape = galsim.Shear(q=rng.uniform(*AXIS_RATIO), beta=rng.uniform(0, np.pi) * galsim.radians)
    seen = galsim.Convolve(body.shear(shape), galsim.Moffat(beta=PSF_BETA, fwhm=PSF_FWHM))
    offset = galsim.PositionD(*rng.uniform(-OFFSET * size, OFFSET * size, 2))
    drawn = seen.drawImage(nx=size, ny=size, scale=1.0, offset=offset, dtype=np.float32)
    image: NDArray[np.float32] = drawn.array
    return image
