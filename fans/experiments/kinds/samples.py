"""What every kind of experiment measures of samples: their distance to held-out images."""

from collections.abc import Sequence

from torch import Tensor

from fans.experiments.data import Images
from fans.experiments.run import Measure
from fans.metrics.evaluation import evaluate
from fans.metrics.features import Features

SAMPLING_SEED = 1000  # of the noise that samples start from, plus the seed of the run
BANDS = 8
Place = tuple[str, int, int, int | None]  # arm, seed, budget and sampler steps of a measure


def evaluated(place: Place, x: Tensor, images: Images, features: Sequence[Features]) -> list[Measure]:
    """Every row of ``fans.metrics.evaluation.evaluate`` for standardised samples."""
    result = evaluate(
        images.restored(x), images.restored(images.test), features=features, bands=BANDS, resamples=200
    )
    return [
        Measure(*place, row.measure, row.value, row.low, row.high, row.floor, row.unit)
        for row in result.table()
    ]
