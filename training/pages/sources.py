"""What pages are made of: digits of MNIST, scans of digits, and fonts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.data import mnist
from training.data.swiss import HELD_OUT_WRITERS, TRAINING_WRITERS
from training.pages.fonts import find_fonts
from training.pages.scans import Scans, load_scans
from training.recipes import FAST

SYSTEM_FONTS = Path("/usr/share/fonts")


@dataclass(frozen=True)
class Sources:
    """What pages are made of. Each part may be empty: digits are then sketched, and scripts scrawled."""

    digits: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 28, 28), np.uint8))  # (N, 28, 28)
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,)
    scans: Scans = field(default_factory=dict)
    print_fonts: Sequence[Path] = ()
    script_fonts: Sequence[Path] = ()

    @classmethod
    def load(
        cls, data_dir: Path, part: Literal["training", "held out"], font_folders: Sequence[Path] = (SYSTEM_FONTS,)
    ) -> "Sources":
        """Load MNIST, the Swiss scans and the fonts.

        Args:
            data_dir: The folder that contains ``MNIST/raw`` and ``swiss/scans.zip``.
            part: The digits and writers that models train on, or those that are held out.

        Raises:
            DataError: A data set is missing.
        """
        training, held_out = mnist.hold_out(mnist.load(data_dir, "train"), FAST.hold_out)
        digits = training if part == "training" else held_out
        writers = TRAINING_WRITERS if part == "training" else HELD_OUT_WRITERS
        printed, script = find_fonts(font_folders)
        return cls(digits.images.numpy(), digits.labels.numpy(), load_scans(data_dir, writers), printed, script)
