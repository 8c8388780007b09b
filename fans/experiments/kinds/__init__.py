"""What can be trained and judged, a kind of experiment in each module (see ``fans.experiments.registry``)."""
