"""Makes outliers: pictures that show no digit, to teach a network what to refuse.

A network that has only seen digits reads a digit in anything. Training on outliers is from Hendrycks et al. 2019,
"Deep Anomaly Detection with Outlier Exposure". The kinds here are cheap to make and differ as much as possible from
each other. The pictures that refusal is measured on (``training/data/out_of_distribution.py``: clothes, letters,
textures) are of none of these kinds.

All functions work on whole batches, on any device, in the MNIST convention on the scale 0 to 255.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from app.imaging.digit_image import IMAGE_SIZE
from training.augmentation.geometry import WHITE, draw_uniform, interpolation_matrix
from training.augmentation.strokes import CENTRE, draw_points, fit_and_centre, resample
from training.data.mnist import Digits

# The quarter turns (or M, a mirror image) that turn a digit into something that nobody reads as a digit.
# An 8 stays an 8, a 6 turned by half becomes a 9, a mirrored 5 becomes a 2: these are left out.
NO_DIGIT_WHEN_TURNED: dict[int, str] = {2: "13", 3: "123M", 4: "123M", 5: "13", 6: "13M", 7: "123M", 9: "13M", 1: "13"}


def turn_digits(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Turn or mirror digits so that they are no longer digits."""
    can_turn = torch.isin(digits.labels, torch.tensor(list(NO_DIGIT_WHEN_TURNED), device=digits.labels.device))
    chosen = torch.multinomial(can_turn.float() + 1e-9, count, replacement=True, generator=generator)
    choice = torch.rand(count, generator=generator, device=digits.images.device).tolist()
    pictures = []
    for index, share in zip(chosen.tolist(), choice, strict=True):
        turns = NO_DIGIT_WHEN_TURNED.get(int(digits.labels[index]), "1")
        turn = turns[int(share * len(turns))]
        pictures.append(digits.images[index].flip(1) if turn == "M" else torch.rot90(digits.images[index], int(turn)))
    return torch.stack(pictures)


def pair_digits(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Put two digits side by side or one above the other, as small as two digits in one picture become."""
    device = digits.images.device
    size = draw_uniform((count,), 0.5, 0.85, generator, device)
    distance = size * draw_uniform((count,), 0.14, 0.34, generator, device)  # from the centre, in picture widths
    slant = draw_uniform((count,), -0.06, 0.06, generator, device)
    vertical = torch.rand(count, generator=generator, device=device) < 0.2
    halves = []
    for side in (-1, 1):
        x = torch.where(vertical, slant, side * distance)
        y = torch.where(vertical, side * distance, side * slant)
        theta = torch.zeros(count, 2, 3, device=device)
        theta[:, 0, 0] = theta[:, 1, 1] = 1 / size
        theta[:, 0, 2], theta[:, 1, 2] = -2 * x / size, -2 * y / size
        chosen = torch.randint(len(digits), (count,), generator=generator, device=device)
        halves.append(resample(digits.images[chosen], theta))
    return torch.maximum(*halves).clamp(0, WHITE)  # resampling can round to slightly above white


def draw_scribbles(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw a pen that wanders through five to nine places without lifting."""
    device = digits.images.device
    places = draw_uniform((count, 9, 2), 4, 24, generator, device)
    last = torch.randint(4, 9, (count, 1, 1), generator=generator, device=device)
    places = torch.where(
        torch.arange(9, device=device).view(1, 9, 1) > last, places.gather(1, last.expand(-1, 1, 2)), places
    )
    curve = interpolation_matrix(9, device) @ places  # (N, 28, 2): a bicubic curve through the places
    points = F.interpolate(curve.transpose(1, 2), 84, mode="linear", align_corners=True).transpose(1, 2)
    return draw_points(points, draw_uniform((count,), 1, 3.5, generator, device))


def draw_straight_signs(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw signs of no alphabet: three to five straight strokes between places on a lattice."""
    return draw_signs(count, generator, digits.images.device, bend=0.0)


def draw_curved_signs(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw the same signs with half of the strokes bent."""
    return draw_signs(count, generator, digits.images.device, bend=0.7)


def draw_signs(count: int, generator: Generator, device: torch.device, bend: float) -> Tensor:
    """Draw three to five strokes between places on a lattice, half of them bent by up to ``bend``."""
    most = 5
    ends = torch.randint(3, (count, most, 2, 2), generator=generator, device=device).float()
    # A stroke needs two different ends: where they are equal, the second one moves on by one place.
    same = (ends[:, :, 0] == ends[:, :, 1]).all(dim=2)
    ends[:, :, 1, 1] = torch.where(same, (ends[:, :, 1, 1] + 1) % 3, ends[:, :, 1, 1])
    strokes = torch.randint(3, most + 1, (count, 1, 1, 1), generator=generator, device=device)
    ends = torch.where(torch.arange(most, device=device).view(1, most, 1, 1) < strokes, ends, ends[:, :1])
    size = draw_uniform((count, 1, 1, 2), 10, 20, generator, device)
    ends = (ends - 1) / 2 * size + CENTRE + draw_uniform((count, most, 2, 2), -1, 1, generator, device)
    start, end = ends[:, :, :1], ends[:, :, 1:]
    is_bent = torch.rand(count, most, 1, 1, generator=generator, device=device) < 0.5
    bow = draw_uniform((count, most, 1, 1), -bend, bend, generator, device) * is_bent * (end - start).flip(3)
    bow = bow * torch.tensor([1.0, -1.0], device=device)  # perpendicular to the stroke
    position = torch.linspace(0, 1, 24, device=device).view(1, 1, 24, 1)
    points = start * (1 - position) + end * position + bow * 4 * position * (1 - position)  # (N, strokes, 24, 2)
    return draw_points(points.flatten(1, 2), draw_uniform((count,), 1, 5, generator, device))


def draw_open_rings(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw a ring with a gap of a quarter to a half, on any side. The gap is too wide for a 0."""
    device = digits.images.device
    opening = draw_uniform((count, 1), 0, 2 * torch.pi, generator, device)
    gap = draw_uniform((count, 1), torch.pi * 0.5, torch.pi, generator, device)
    angle = opening + gap / 2 + (2 * torch.pi - gap) * torch.linspace(0, 1, 60, device=device)  # (N, 60)
    size = draw_uniform((count, 2, 1), 5, 10, generator, device)
    roundness = draw_uniform((count, 1), 0.5, 1, generator, device)  # at 0.5 the sides are nearly straight, as in a U
    x, y = (torch.sign(part) * part.abs() ** roundness for part in (torch.cos(angle), torch.sin(angle)))
    points = torch.stack([x * size[:, 0], y * size[:, 1]], dim=2) + CENTRE
    return draw_points(points, draw_uniform((count,), 1, 5, generator, device))


def draw_ladders(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw two posts and a bar between them. The posts may lean until they meet."""
    device = digits.images.device
    height = draw_uniform((count,), 7, 10, generator, device)
    top, foot = draw_uniform((count,), 0, 7, generator, device), draw_uniform((count,), 4, 8, generator, device)
    bar = draw_uniform((count,), -0.5, 0.4, generator, device)  # its place between the middle and an end
    half = foot + (top - foot) * (1 - bar) / 2
    lean = draw_uniform((count,), -3, 3, generator, device)
    ends = (
        torch.stack(
            [
                torch.stack([-top + lean, -height]),
                torch.stack([-foot - lean, height]),
                torch.stack([top + lean, -height]),
                torch.stack([foot - lean, height]),
                torch.stack([-half - lean * bar, bar * height]),
                torch.stack([half - lean * bar, bar * height]),
            ]
        )
        .permute(2, 0, 1)
        .reshape(count, 3, 2, 2)
    )  # (N, strokes, ends, xy)
    position = torch.linspace(0, 1, 24, device=device).view(1, 1, 24, 1)
    points = ends[:, :, :1] * (1 - position) + ends[:, :, 1:] * position + CENTRE
    return draw_points(points.flatten(1, 2), draw_uniform((count,), 1, 5, generator, device))


def make_blobs(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Fill shapes cut out of smooth noise. Half are symmetric left to right, half are fitted into 20x20."""
    device = digits.images.device
    coarse = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    shape = torch.where(
        coarse, make_smooth_noise(count, 4, generator, device), make_smooth_noise(count, 7, generator, device)
    )
    symmetric = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    shape = torch.where(symmetric, (shape + shape.flip(2)) / 1.4, shape)
    level = draw_uniform((count, 1, 1), -0.8, 0.5, generator, device)
    pictures = add_texture(((shape - level) * 6).clamp(0, 1), generator)
    is_fitted = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    return torch.where(is_fitted, fit_and_centre(pictures), pictures)


def make_silhouettes(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Fill outlines that are symmetric left to right and change width slowly from top to bottom. Some open at one end.

    They are fitted into 20x20, like a vase or a jug in a photograph. None is as narrow as a 1, and none has a hole.
    """
    device = digits.images.device
    half_width = (draw_uniform((count, 6), 3, 13, generator, device) @ interpolation_matrix(6, device).T).unsqueeze(2)
    position = torch.linspace(0, 1, IMAGE_SIZE, device=device).view(1, IMAGE_SIZE, 1)
    opens_at_top = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    gap = draw_uniform((count, 1, 1), -12, 0, generator, device) + 10 * torch.where(
        opens_at_top, 1 - position, position
    )
    is_open = torch.rand(count, 1, 1, generator=generator, device=device) < 0.3
    gap = torch.where(is_open, gap, -1.0)
    distance = (torch.arange(IMAGE_SIZE, device=device) - CENTRE).abs()  # (28,), from the centre line
    from_side, from_middle = distance.view(1, 1, IMAGE_SIZE), distance.view(1, IMAGE_SIZE, 1)
    half_height = draw_uniform((count, 1, 1), 5, 13, generator, device)
    inside = (half_width - from_side).clamp(0, 1) * (from_side - gap).clamp(0, 1)
    inside = inside * (half_height - from_middle).clamp(0, 1)
    return fit_and_centre(add_texture(inside, generator))


def make_noise(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Make noise of every density and brightness, down to almost nothing."""
    device = digits.images.device
    density = draw_uniform((count, 1, 1), 0, 1, generator, device) ** 2
    is_on = torch.rand(count, IMAGE_SIZE, IMAGE_SIZE, generator=generator, device=device) < density
    grains = torch.rand(count, IMAGE_SIZE, IMAGE_SIZE, generator=generator, device=device)
    blurred = F.avg_pool2d((is_on * grains).unsqueeze(1), 3, stride=1, padding=1).squeeze(1) * 2
    is_blurred = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    level = draw_uniform((count, 1, 1), 0.05, 1, generator, device)
    return (torch.where(is_blurred, blurred, is_on * grains) * level).clamp(0, 1) * WHITE


def add_texture(inside: Tensor, generator: Generator) -> Tensor:
    """Give filled shapes, ``(N, 28, 28)`` in [0, 1], a shade and a coarse or fine texture."""
    count, device = len(inside), inside.device
    coarse = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    texture = torch.where(
        coarse, make_smooth_noise(count, 5, generator, device), make_smooth_noise(count, 14, generator, device)
    )
    texture = texture * draw_uniform((count, 1, 1), 0, 0.4, generator, device)
    return inside * (draw_uniform((count, 1, 1), 0.4, 1, generator, device) + texture).clamp(0, 1) * WHITE


def make_smooth_noise(count: int, points: int, generator: Generator, device: torch.device) -> Tensor:
    """Make smooth noise ``(N, 28, 28)`` of strength about 1, with ``points`` control points along a side."""
    matrix = interpolation_matrix(points, device)
    return matrix @ torch.randn(count, points, points, generator=generator, device=device) @ matrix.T


Kind = Callable[[Digits, int, Generator], Tensor]

# Pairs come three times as often: numbers are cut into digits by whether two digits look like one.
KINDS: tuple[Kind, ...] = (
    turn_digits,
    pair_digits,
    pair_digits,
    pair_digits,
    draw_scribbles,
    draw_straight_signs,
    draw_curved_signs,
    draw_open_rings,
    draw_ladders,
    make_blobs,
    make_silhouettes,
    make_noise,
)


def make_outliers(images: Tensor, labels: Tensor, count: int, generator: Generator) -> Tensor:
    """Make ``count`` pictures, ``float32 (count, 28, 28)``, some of them out of the digits ``(N, 28, 28)``."""
    digits = Digits(images.float(), labels)
    kind = torch.randint(len(KINDS), (count,), generator=generator, device=images.device)
    counts = torch.bincount(kind, minlength=len(KINDS)).tolist()
    return torch.cat([make(digits, number, generator) for make, number in zip(KINDS, counts, strict=True) if number])
