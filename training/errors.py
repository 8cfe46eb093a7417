"""The errors that a training command prints in one line."""


class TrainingError(Exception):
    """Base class of these errors."""


class DataError(TrainingError):
    """Pictures are missing or cannot be used."""


class RunError(TrainingError):
    """A training run cannot be started or resumed."""


class EvaluationError(TrainingError):
    """A model cannot be measured this way."""


class ExportError(TrainingError):
    """A model folder cannot be written, or a network cannot be read from one."""
