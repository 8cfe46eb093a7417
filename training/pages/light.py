"""The light on a picture: gradients, vignettes and shadows."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Light = NDArray[np.float32]  # (H, W), 1 where it is full

COARSE_SIDE = 400  # pixels; light changes slowly, so it is computed small and enlarged


def make_light(shape: tuple[int, int], generator: Generator) -> Light:
    """Compute the light on each pixel: a gradient, often a vignette, a lamp's bright spot or the edge of a shadow."""
    shrink = max(1, max(shape) // COARSE_SIDE)
    height, width = -(-shape[0] // shrink), -(-shape[1] // shrink)
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    direction = generator.uniform(0, 2 * np.pi)
    slope = generator.uniform(0, 0.45) ** 1.3
    level = 1 - slope * (x * np.cos(direction) + y * np.sin(direction) + 0.5)
    if generator.random() < 0.35:  # a bright centre and dark corners
        centre = generator.normal(0, 0.12, 2)
        level *= 1 - generator.uniform(0.1, 0.6) * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2).clip(0, 1) * 2
    if generator.random() < 0.12:
        spot = generator.uniform(-0.5, 0.5, 2)
        size = generator.uniform(0.1, 0.35)
        level *= 1 + generator.uniform(0.1, 0.35) * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / size**2)
    for _ in range(int(generator.choice(3, p=[0.66, 0.26, 0.08]))):
        level *= 1 - generator.uniform(0.1, 0.5) * make_shadow(x, y, generator)
    large: Light = cv2.resize(level.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
    return large


def make_shadow(x: NDArray[np.float64], y: NDArray[np.float64], generator: Generator) -> NDArray[np.float64]:
    """Compute how dark each place is in the shadow of a straight edge, or of something round such as a hand or phone.

    Args:
        x: The columns of the places, from -0.5 to 0.5.
        y: Their rows.
    """
    direction, soft = generator.uniform(0, 2 * np.pi), np.exp(generator.uniform(np.log(0.004), np.log(0.12)))
    if generator.random() < 0.75:
        away = x * np.cos(direction) + y * np.sin(direction) - generator.uniform(-0.3, 0.35)
    else:
        middle = generator.uniform(-0.6, 0.6, 2)
        radius = generator.uniform(0.2, 0.5)
        wobble = 1 + 0.1 * np.sin(3 * np.arctan2(y - middle[1], x - middle[0]) + direction)
        away = radius * wobble - np.hypot(x - middle[0], y - middle[1])
    dark: NDArray[np.float64] = 1 / (1 + np.exp(-(away / soft).clip(-30, 30)))
    return dark
