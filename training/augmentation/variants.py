"""Makes digits as they are written outside the United States, out of MNIST's digits and strokes.

MNIST has few of them: a 1 with a long upstroke, a barred 7, a slashed 0, an open 4, a 9 with a hook. Some shapes
are a 1 to some people and a 7 to others. Their target is half a 1 and half a 7, so that the service refuses them as
uncertain.

All functions work on whole batches, on any device, in the MNIST convention on the scale 0 to 255.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from app.imaging.digit_image import IMAGE_SIZE
from app.inference.networks import DIGITS
from training.augmentation.geometry import WHITE, draw_uniform
from training.augmentation.strokes import CENTRE, draw_points, find_box, fit_and_centre
from training.data.mnist import Digits

MAX_UPSTROKE = 0.8  # of the height of a 1
POINTS = 24  # of a stroke


def take_class(digits: Digits, digit: int, count: int, generator: Generator) -> Tensor:
    """Take ``count`` pictures of one digit, some of them several times. Without any, the pictures are blank."""
    found = digits.images[digits.labels == digit].float()
    if not len(found):
        return torch.zeros(count, IMAGE_SIZE, IMAGE_SIZE, device=digits.images.device)
    return found[torch.randint(len(found), (count,), generator=generator, device=found.device)]


def add_upstrokes(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw an upstroke to the top of 1s, at 30 to 65 degrees above the horizontal. Some get a foot."""
    pictures = take_class(digits, 1, count, generator)
    top, bottom, *_ = find_ink(pictures)
    x, foot = mean_column(pictures, top), mean_column(pictures, bottom)
    length = draw_uniform((count,), 0.1, MAX_UPSTROKE, generator, pictures.device) * (bottom - top)
    angle = draw_uniform((count,), 30, 65, generator, pictures.device).deg2rad()
    upstroke = line(x, top + 1, x - length * torch.cos(angle), top + 1 + length * torch.sin(angle))
    has_foot = torch.rand(count, generator=generator, device=pictures.device) < 0.15
    half = draw_uniform((count,), 2, 5, generator, pictures.device) * has_foot
    points = torch.cat([upstroke, line(foot - half, bottom - 1, foot + half, bottom - 1)], dim=1)
    return fit_and_centre(torch.maximum(pictures, draw_points(points, measure_width(pictures))))


def add_bars(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw a short bar across the stem of 7s."""
    pictures = take_class(digits, 7, count, generator)
    top, bottom, left, right = find_ink(pictures)
    y = top + (bottom - top) * draw_uniform((count,), 0.42, 0.62, generator, pictures.device)
    x = mean_column(pictures, y.round())
    half = (right - left) * draw_uniform((count,), 0.2, 0.4, generator, pictures.device)
    rise = half * draw_uniform((count,), -0.2, 0.4, generator, pictures.device)
    bar = line(x - half, y + rise, x + half, y - rise)
    return fit_and_centre(torch.maximum(pictures, draw_points(bar, measure_width(pictures))))


def add_slashes(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw a slash through 0s, from the lower left to the upper right. It may reach out of them."""
    pictures = take_class(digits, 0, count, generator)
    top, bottom, left, right = find_ink(pictures)
    x, y = (left + right) / 2, (top + bottom) / 2
    reach = draw_uniform((count,), 0.7, 1.15, generator, pictures.device)
    half_x = reach * (right - left) / 2 * draw_uniform((count,), 0.5, 1, generator, pictures.device)
    half_y = reach * (bottom - top) / 2 * draw_uniform((count,), 0.6, 1, generator, pictures.device)
    slash = line(x - half_x, y + half_y, x + half_x, y - half_y)
    return fit_and_centre(torch.maximum(pictures, draw_points(slash, measure_width(pictures))))


def draw_ones(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw 1s of two straight strokes: an upstroke at 30 to 70 degrees and a stem that leans."""
    return draw_corners(count, 30, 70, 0.1, generator, digits.images.device)


def draw_doubtful_ones(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw what is a 1 to some and a 7 to others: a long upstroke at 12 to 24 degrees, without a bar."""
    return draw_corners(count, 12, 24, 0.35, generator, digits.images.device)


def draw_corners(
    count: int, flattest: float, steepest: float, shortest: float, generator: Generator, device: torch.device
) -> Tensor:
    """Draw a stem, and an upstroke to its top.

    Args:
        flattest: Degrees of the upstroke above the horizontal.
        shortest: Length of the shortest upstroke, as a share of the stem.
    """
    lean = draw_uniform((count,), -0.45, 0.15, generator, device)
    length = draw_uniform((count,), shortest, MAX_UPSTROKE, generator, device)
    angle = draw_uniform((count,), flattest, steepest, generator, device).deg2rad()
    zero = torch.zeros(count, device=device)
    stem = line(zero, zero, lean, zero + 1)
    upstroke = line(zero, zero, -length * torch.cos(angle), length * torch.sin(angle))
    return draw_glyphs(torch.cat([stem, upstroke], dim=1), generator)


def draw_open_fours(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw 4s whose two strokes do not meet at the top: an angle, and a stem that crosses or touches it."""
    device = digits.images.device
    zero = torch.zeros(count, device=device)
    corner_x = draw_uniform((count,), -0.15, 0.15, generator, device)
    corner_y = draw_uniform((count,), 0.45, 0.7, generator, device)
    start_x = corner_x + draw_uniform((count,), -0.05, 0.3, generator, device)
    end_x = corner_x + draw_uniform((count,), 0.5, 0.8, generator, device)
    end_y = corner_y + draw_uniform((count,), -0.15, 0.08, generator, device)
    stem_x = corner_x + (end_x - corner_x) * draw_uniform((count,), 0.55, 0.95, generator, device)
    stem_top = draw_uniform((count,), 0, 0.45, generator, device)
    lean = draw_uniform((count,), -0.2, 0.05, generator, device)
    first, second = line(start_x, zero, corner_x, corner_y), line(corner_x, corner_y, end_x, end_y)
    return draw_glyphs(torch.cat([first, second, line(stem_x, stem_top, stem_x + lean, zero + 1)], dim=1), generator)


def draw_hooked_nines(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Draw 9s with a loop that may stay open at the top right, and a stem that ends in a hook to the left."""
    device = digits.images.device
    half_x = draw_uniform((count, 1), 0.18, 0.32, generator, device)
    half_y = draw_uniform((count, 1), 0.16, 0.28, generator, device)
    start = draw_uniform((count, 1), -75, 0, generator, device)  # degrees; the top is at -90, the right side at 0
    turn = torch.linspace(0, 1, POINTS, device=device)
    angle = (start + (-360 - start) * turn).deg2rad()  # over the top and the left side to the right side
    loop = torch.stack([half_x * torch.cos(angle), half_y * torch.sin(angle) + half_y], dim=2)
    hook = draw_uniform((count, 1), 0.15, 0.6, generator, device)
    drop = draw_uniform((count, 1), 0.0, 0.25, generator, device)
    corners = torch.stack(
        [
            torch.cat([half_x, half_x, half_x * 0.8 - hook * 0.3, half_x - hook - 0.1], dim=1),
            torch.cat([half_y, 0.6 + drop, torch.full_like(drop, 1.1), 0.95 - drop * 0.5], dim=1),
        ],
        dim=2,
    )  # (N, 4, xy): the control points of a cubic Bezier curve
    t = turn.view(1, POINTS, 1)
    weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
    stem = torch.stack([weight * corners[:, i : i + 1] for i, weight in enumerate(weights)]).sum(dim=0)
    return draw_glyphs(torch.cat([loop, stem], dim=1), generator)


def draw_glyphs(points: Tensor, generator: Generator) -> Tensor:
    """Draw strokes of height 1 at the size of a digit, stretched, slanted, a little shaky, with any pen."""
    count, device = len(points), points.device
    wide = draw_uniform((count, 1), 0.75, 1.25, generator, device)
    slant = draw_uniform((count, 1), -0.15, 0.3, generator, device)
    x = points[:, :, 0] * wide - slant * points[:, :, 1]
    placed = torch.stack([x, points[:, :, 1]], dim=2)
    middle = (placed.amin(dim=1, keepdim=True) + placed.amax(dim=1, keepdim=True)) / 2
    size = (placed.amax(dim=1) - placed.amin(dim=1)).amax(dim=1).view(-1, 1, 1)
    placed = (placed - middle) / size * 18 + CENTRE
    return fit_and_centre(draw_points(placed, draw_uniform((count,), 0.8, 3.2, generator, device)))


def line(x1: Tensor, y1: Tensor, x2: Tensor, y2: Tensor) -> Tensor:
    """Return points ``(N, POINTS, 2)`` along straight strokes between two ends, each ``(N,)``."""
    position = torch.linspace(0, 1, POINTS, device=x1.device)
    return torch.stack(
        [start.unsqueeze(1) * (1 - position) + end.unsqueeze(1) * position for start, end in ((x1, x2), (y1, y2))],
        dim=2,
    )


def find_ink(pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the first and last row and the first and last column with ink, each ``(N,)``."""
    columns, rows = find_box(pictures > WHITE / 2)
    return rows[:, 0], rows[:, 1], columns[:, 0], columns[:, 1]


def mean_column(pictures: Tensor, row: Tensor) -> Tensor:
    """Return the mean column ``(N,)`` of the ink in one row of each picture."""
    ink = pictures[torch.arange(len(pictures), device=pictures.device), row.long()]
    columns = torch.arange(IMAGE_SIZE, device=pictures.device, dtype=torch.float32)
    return (ink * columns).sum(dim=1) / ink.sum(dim=1).clamp(min=1)


def measure_width(pictures: Tensor) -> Tensor:
    """Return about how wide the strokes of each picture are, ``(N,)``, in pixels: ink per ink that touches paper."""
    ink = pictures / WHITE
    inner = -F.max_pool2d(-ink.unsqueeze(1), 3, stride=1, padding=1).squeeze(1)
    edge = (ink - inner).sum(dim=(1, 2)).clamp(min=1)
    return (2 * ink.sum(dim=(1, 2)) / edge - 1).clamp(0.8, 4)


Kind = Callable[[Digits, int, Generator], Tensor]

# Each kind, and the digits that it is equally likely to be.
KINDS: tuple[tuple[Kind, tuple[int, ...]], ...] = (
    (add_upstrokes, (1,)),
    (draw_ones, (1,)),
    (draw_doubtful_ones, (1, 7)),
    (add_bars, (7,)),
    (add_slashes, (0,)),
    (draw_open_fours, (4,)),
    (draw_hooked_nines, (9,)),
)


def make_variants(images: Tensor, labels: Tensor, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Make ``count`` digits, some of them out of the digits ``(N, 28, 28)``.

    Returns:
        Pictures ``float32 (count, 28, 28)``, and targets ``float32 (count, 11)``: the probability of each digit.
    """
    digits = Digits(images, labels)
    kind = torch.randint(len(KINDS), (count,), generator=generator, device=images.device)
    counts = torch.bincount(kind, minlength=len(KINDS)).tolist()
    pictures, targets = [], []
    for (make, classes), number in zip(KINDS, counts, strict=True):
        if number:
            pictures.append(make(digits, number, generator))
            target = torch.zeros(DIGITS + 1, device=images.device)
            target[list(classes)] = 1 / len(classes)
            targets.append(target.expand(number, -1))
    return torch.cat(pictures), torch.cat(targets)
