"""The picture of one digit as every network reads it: 28x28, light ink on black, as in MNIST."""

import numpy as np
from numpy.typing import NDArray

IMAGE_SIZE = 28  # pixels, the side of a digit image
DIGIT_SIZE = 20  # pixels, the longer side of the digit inside it

Grey = NDArray[np.uint8]
"""Grey pixels ``(H, W)``; 0 is black."""

Images = NDArray[np.uint8]
"""A batch of digit images, ``(N, 28, 28)``."""
