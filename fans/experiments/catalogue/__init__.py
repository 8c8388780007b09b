"""The experiments of the book: each module registers its own, when the package is first imported."""

from fans.experiments.catalogue import coloured_noise as coloured_noise
from fans.experiments.catalogue import compression as compression
from fans.experiments.catalogue import test_beds as test_beds

# Last, as the appendix is.
# isort: split
from fans.experiments.catalogue import adapters as adapters
