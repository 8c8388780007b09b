"""Draw the picture on the welcome page: fields of four exponents over their measured spectra."""

from pathlib import Path

from fans import images, spectrum
from spectralbook import figures

COVER = Path(__file__).resolve().parents[1] / "book/_static/cover.png"


def main() -> None:
    exponents = (0.0, 1.0, 2.0, 3.0)
    fields = {a: images.load("power_law", size=64, count=400, alpha=a, scale=4, seed=4) for a in exponents}
    spectra = {a: spectrum.radial_spectrum(x, window="hann").mean() for a, x in fields.items()}
    figure = figures.fields_over_spectra({a: x[0] for a, x in fields.items()}, spectra)
    figure.savefig(COVER, dpi=140, metadata={"Software": ""})


if __name__ == "__main__":
    main()
