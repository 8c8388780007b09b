"""What each data set is, where it comes from, and under which licence."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["photographs", "texture", "astronomy", "digits", "synthetic", "user"]


@dataclass(frozen=True)
class Card:
    """The provenance of a data set.

    Attributes:
        name: Name to give to ``load``.
        title: What it shows, in a few words.
        kind: Family of data sets.
        channels: Channels of an image; ``folder:PATH`` and ``hub:DATASET`` have an option.
        originals: Number of independent source images; None when unlimited or not known beforehand.
        licence: Licence of the images.
        attribution: Whom to name.
        url: Where the source images come from; empty when there is no such place.
        note: What to know before drawing conclusions.
    """

    name: str
    title: str
    kind: Kind
    channels: int
    originals: int | None
    licence: str
    attribution: str
    url: str
    note: str


_ONE_PICTURE = (
    "Random crops of one picture: not a sample of its kind. Train is its left half, test its upper right "
    "quarter, validation its lower right, one image size apart."
)
_OURS = "MIT, as this package"
_AUTHORS = "The FANS book authors"

_ALL = (
    Card(
        name="photographs",
        title="Colour photographs",
        kind="photographs",
        channels=3,
        originals=7,
        licence="public domain (astronaut, rocket), CC0 (camera, chelsea, coffee), CC BY 2.0 (china, flower)",
        attribution="NASA (astronaut), SpaceX (rocket), Lav Varshney (camera), Stefan van der Walt "
        "(chelsea), Rachel Michetti (coffee), danielbuechele on Flickr (china), vultilion on Flickr "
        "(flower); shipped with scikit-image and scikit-learn",
        url="https://scikit-image.org/docs/stable/api/skimage.data.html",
        note="Random crops of 7 photographs: not a sample of natural images; crops of one photograph are "
        "correlated. Train: astronaut, chelsea, china, flower. Test: coffee, rocket. Validation: camera, "
        "which is grey.",
    ),
    Card(
        name="brick",
        title="A brick wall",
        kind="texture",
        channels=1,
        originals=1,
        licence="CC0",
        attribution="CC0Textures (Bricks25); shipped with scikit-image",
        url="https://cc0textures.com/view.php?tex=Bricks25",
        note=_ONE_PICTURE,
    ),
    Card(
        name="grass",
        title="Grass",
        kind="texture",
        channels=1,
        originals=1,
        licence="CC0",
        attribution="linolafett on DeviantArt; shipped with scikit-image",
        url="https://www.deviantart.com/linolafett/art/Grass-01-434853879",
        note=_ONE_PICTURE,
    ),
    Card(
        name="gravel",
        title="Gravel",
        kind="texture",
        channels=1,
        originals=1,
        licence="CC0",
        attribution="CC0Textures (Gravel04); shipped with scikit-image",
        url="https://cc0textures.com/view.php?tex=Gravel04",
        note=_ONE_PICTURE,
    ),
    Card(
        name="hubble",
        title="Hubble eXtreme Deep Field",
        kind="astronomy",
        channels=3,
        originals=1,
        licence="public domain",
        attribution="NASA; shipped with scikit-image",
        url="http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
        note=_ONE_PICTURE + " A JPEG made for display: stretched, coloured and compressed.",
    ),
    Card(
        name="galaxies",
        title="Parametric galaxies",
        kind="astronomy",
        channels=1,
        originals=None,
        licence=_OURS,
        attribution=f"{_AUTHORS}, drawn with GalSim (BSD licence)",
        url="https://github.com/GalSim-developers/GalSim",
        note="Simulated: Sersic bulge, exponential disk, random knots, Moffat PSF (2.5 pixels), white noise. "
        "Linear in light, divided by each image's peak.",
    ),
    Card(
        name="stars",
        title="Star fields",
        kind="astronomy",
        channels=1,
        originals=None,
        licence=_OURS,
        attribution=_AUTHORS,
        url="",
        note="Simulated: points with N(>F) ~ F^-1.5, Gaussian PSF, white noise. "
        "Linear in light, divided by each image's peak.",
    ),
    Card(
        name="digits",
        title="Handwritten digits, 8x8",
        kind="digits",
        channels=1,
        originals=1797,
        licence="CC BY 4.0",
        attribution="E. Alpaydin and C. Kaynak, UCI Machine Learning Repository (doi:10.24432/C50P49); "
        "shipped with scikit-learn",
        url="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        note="8x8 block counts; larger sizes are padded with background. By 13 writers whom the data do not "
        "name, so one writer may be in all splits. Train has 1200 images, validation 237, test 360.",
    ),
    Card(
        name="power_law",
        title="Gaussian fields with power ~ 1/f^alpha",
        kind="synthetic",
        channels=1,
        originals=None,
        licence=_OURS,
        attribution=_AUTHORS,
        url="",
        note="Periodic, with exactly the stated expected spectrum, at scale=1; else crops of larger fields.",
    ),
    Card(
        name="pltb",
        title="Power-law texture bank",
        kind="synthetic",
        channels=1,
        originals=None,
        licence=_OURS,
        attribution=f"{_AUTHORS}, after the description published with FANS",
        url="",
        note="The published formula makes power grow with frequency, against its own figures; "
        "the sign is repaired.",
    ),
    Card(
        name="egm",
        title="Edges-gratings mixture",
        kind="synthetic",
        channels=1,
        originals=None,
        licence=_OURS,
        attribution=f"{_AUTHORS}, after the description published with FANS",
        url="",
        note="1-3 gratings of 0.04-0.22 cycles per pixel, 0-1 checkerboards, 2-6 line segments. The source "
        "gives only the ingredients and the frequencies; the counts are our choice, so spectra may differ.",
    ),
    Card(
        name="rings",
        title="Gaussian fields with two rings of power",
        kind="synthetic",
        channels=1,
        originals=None,
        licence=_OURS,
        attribution=f"{_AUTHORS}, after the toy set of Schwarz, Liao and Geiger (2021)",
        url="https://github.com/autonomousvision/frequency_bias",
        note="A stationary random field, unlike the toy set it follows, whose phases cover half a turn only.",
    ),
    Card(
        name="mixture",
        title="Gaussian fields whose spectrum and contrast vary from image to image",
        kind="synthetic",
        channels=1,
        originals=None,
        licence=_OURS,
        attribution=_AUTHORS,
        url="",
        note="Each image is a periodic Gaussian field of one of mixture_spectra, equally often; the expected "
        "spectrum is their mean, exactly. Not Gaussian as a set: its best denoiser is known and not linear.",
    ),
    Card(
        name="dead_leaves",
        title="Dead leaves: occluding discs",
        kind="synthetic",
        channels=3,
        originals=None,
        licence=_OURS,
        attribution=f"{_AUTHORS}, after Matheron (1968) and Lee, Mumford and Huang (2001)",
        url="",
        note="Radii of density r^-3 between 1 and 32 pixels, colours uniform. At 64 pixels the spectrum "
        "falls as f^-2.6 between 0.05 and 0.4 cycles per pixel (measured).",
    ),
    Card(
        name="fashion",
        title="Fashion-MNIST: garments, 28x28",
        kind="user",
        channels=1,
        originals=70000,
        licence="MIT",
        attribution="H. Xiao, K. Rasul, R. Vollgraf, Zalando SE (arXiv:1708.07747)",
        url="https://github.com/zalandoresearch/fashion-mnist",
        note="Not bundled: Debian's package dataset-fashion-mnist, a folder, or the hub. Larger sizes are "
        "padded with background. Train has the first 50000 of its training images, validation the other "
        "10000, test its own 10000.",
    ),
    Card(
        name="folder:PATH",
        title="Images of a folder",
        kind="user",
        channels=3,
        originals=None,
        licence="that of the images",
        attribution="the makers of the images",
        url="",
        note="Random crops without resampling; of every five files (option holdout) the fourth is for "
        "validation and the fifth a test image.",
    ),
    Card(
        name="hub:DATASET",
        title="A data set of the Hugging Face hub",
        kind="user",
        channels=3,
        originals=None,
        licence="that of the data set, see its page",
        attribution="the makers of the data set",
        url="https://huggingface.co/datasets",
        note="Random crops without resampling; needs the network once.",
    ),
)
CARDS: dict[str, Card] = {card.name: card for card in _ALL}
