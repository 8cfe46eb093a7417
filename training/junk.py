"""Pictures of what is not a digit, made by code: what a network is taught to refuse.

A network that was shown digits alone reads a digit in anything. Showing it other things as well is from Hendrycks et
al. 2019, "Deep Anomaly Detection with Outlier Exposure". The kinds here are cheap to make and as unlike each other as
can be; what the network is then measured on (clothes, letters, textures) is none of them.

Works on whole batches on any device, in the MNIST convention on the scale 0 to 255. Knows nothing of networks.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from training.augment import SIZE, WHITE, interpolation, uniform
from training.data import Digits

BOX = 20  # pixels, the side that the service's normaliser fits a digit into

# Quarter turns (or M, for a mirror) that make of a digit something that no one reads as a digit.
# An 8 stays an 8, a 6 turns into a 9, a mirrored 5 into a 2: those are left out.
NO_DIGIT_WHEN_TURNED: dict[int, str] = {2: "13", 3: "123M", 4: "123M", 5: "13", 6: "13M", 7: "123M", 9: "13M", 1: "13"}


def turned(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Digits on their side, on their head or in a mirror, where that is a digit no more."""
    chosen = torch.multinomial(
        torch.isin(digits.labels, torch.tensor(list(NO_DIGIT_WHEN_TURNED), device=digits.labels.device)).float() + 1e-9,
        count,
        replacement=True,
        generator=generator,
    )
    pick = torch.rand(count, generator=generator, device=digits.images.device).tolist()
    made = []
    for index, share in zip(chosen.tolist(), pick, strict=True):
        turns = NO_DIGIT_WHEN_TURNED.get(int(digits.labels[index]), "1")
        turn = turns[int(share * len(turns))]
        made.append(digits.images[index].flip(1) if turn == "M" else torch.rot90(digits.images[index], int(turn)))
    return torch.stack(made)


def pairs(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Two digits side by side or one above the other, as small as they get when they share one picture."""
    device = digits.images.device
    size = uniform((count,), 0.5, 0.85, generator, device)
    apart = size * uniform((count,), 0.14, 0.34, generator, device)  # from the middle, in pictures
    across = uniform((count,), -0.06, 0.06, generator, device)
    upright = torch.rand(count, generator=generator, device=device) < 0.2
    halves = []
    for side in (-1, 1):
        x, y = torch.where(upright, across, side * apart), torch.where(upright, side * apart, side * across)
        theta = torch.zeros(count, 2, 3, device=device)
        theta[:, 0, 0] = theta[:, 1, 1] = 1 / size
        theta[:, 0, 2], theta[:, 1, 2] = -2 * x / size, -2 * y / size
        chosen = torch.randint(len(digits), (count,), generator=generator, device=device)
        grid = F.affine_grid(theta, [count, 1, SIZE, SIZE], align_corners=False)
        halves.append(F.grid_sample(digits.images[chosen].unsqueeze(1), grid, align_corners=False).squeeze(1))
    return torch.maximum(*halves).clamp(0, WHITE)  # resampling rounds a little past white


def drawn(points: Tensor, width: Tensor) -> Tensor:
    """Draw strokes: points ``(N, P, 2)`` along them, in pixels, and the pen's width ``(N,)``, also in pixels."""
    line = torch.arange(SIZE, device=points.device, dtype=torch.float32)
    down = (line.view(1, SIZE, 1) - points[:, None, :, 1]) ** 2  # (N, 28, P)
    along = (line.view(1, SIZE, 1) - points[:, None, :, 0]) ** 2
    nearest = (down[:, :, None, :] + along[:, None, :, :]).amin(dim=3).sqrt()  # (N, 28, 28)
    return ((width.view(-1, 1, 1) / 2 + 0.7 - nearest) / 1.2).clamp(0, 1) * WHITE


def scribbles(digits: Digits, count: int, generator: Generator) -> Tensor:
    """A pen that wanders, without lifting, through five to nine places."""
    device = digits.images.device
    places = uniform((count, 9, 2), 4, 24, generator, device)
    last = torch.randint(4, 9, (count, 1, 1), generator=generator, device=device)
    places = torch.where(
        torch.arange(9, device=device).view(1, 9, 1) > last, places.gather(1, last.expand(-1, 1, 2)), places
    )
    spread = interpolation(9, device)  # (28, 9): a bicubic curve through the places
    fine = F.interpolate((spread @ places).transpose(1, 2), 84, mode="linear", align_corners=True).transpose(1, 2)
    return drawn(fine, uniform((count,), 1, 3.5, generator, device))


def segments(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Three to five straight strokes between places on a lattice: signs of no alphabet."""
    return signs(count, generator, digits.images.device, bend=0.0)


def arcs(digits: Digits, count: int, generator: Generator) -> Tensor:
    """The same, with half of the strokes bent."""
    return signs(count, generator, digits.images.device, bend=0.7)


def rings(digits: Digits, count: int, generator: Generator) -> Tensor:
    """A ring with a gap of a quarter to a half of it, wherever it opens: too wide for a 0."""
    device = digits.images.device
    opens = uniform((count, 1), 0, 2 * torch.pi, generator, device)
    gap = uniform((count, 1), torch.pi * 0.5, torch.pi, generator, device)
    turn = opens + gap / 2 + (2 * torch.pi - gap) * torch.linspace(0, 1, 60, device=device)  # (N, 60)
    size = uniform((count, 2, 1), 5, 10, generator, device)
    square = uniform((count, 1), 0.5, 1, generator, device)  # at 0.5 the sides are nearly straight, as a U's are
    x, y = (torch.sign(part) * part.abs() ** square for part in (torch.cos(turn), torch.sin(turn)))
    points = torch.stack([x * size[:, 0], y * size[:, 1]], dim=2) + 13.5
    return drawn(points, uniform((count,), 1, 5, generator, device))


def ladders(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Two posts and a bar between them; the posts may lean until they meet."""
    device = digits.images.device
    tall = uniform((count,), 7, 10, generator, device)
    top, foot = uniform((count,), 0, 7, generator, device), uniform((count,), 4, 8, generator, device)
    at = uniform((count,), -0.5, 0.4, generator, device)  # of the bar, between the middle and an end
    half = foot + (top - foot) * (1 - at) / 2
    lean = uniform((count,), -3, 3, generator, device)
    ends = (
        torch.stack(
            [
                torch.stack([-top + lean, -tall]),
                torch.stack([-foot - lean, tall]),
                torch.stack([top + lean, -tall]),
                torch.stack([foot - lean, tall]),
                torch.stack([-half - lean * at, at * tall]),
                torch.stack([half - lean * at, at * tall]),
            ]
        )
        .permute(2, 0, 1)
        .reshape(count, 3, 2, 2)
    )  # (N, strokes, ends, xy)
    along = torch.linspace(0, 1, 24, device=device).view(1, 1, 24, 1)
    points = ends[:, :, :1] * (1 - along) + ends[:, :, 1:] * along + 13.5
    return drawn(points.flatten(1, 2), uniform((count,), 1, 5, generator, device))


def signs(count: int, generator: Generator, device: torch.device, bend: float) -> Tensor:
    most = 5
    ends = torch.randint(3, (count, most, 2, 2), generator=generator, device=device).float()
    # A stroke from a place to itself is none: its end moves on by one.
    same = (ends[:, :, 0] == ends[:, :, 1]).all(dim=2)
    ends[:, :, 1, 1] = torch.where(same, (ends[:, :, 1, 1] + 1) % 3, ends[:, :, 1, 1])
    number = torch.randint(3, most + 1, (count, 1, 1, 1), generator=generator, device=device)
    ends = torch.where(torch.arange(most, device=device).view(1, most, 1, 1) < number, ends, ends[:, :1])
    box = uniform((count, 1, 1, 2), 10, 20, generator, device)
    ends = (ends - 1) / 2 * box + 13.5 + uniform((count, most, 2, 2), -1, 1, generator, device)
    start, end = ends[:, :, :1], ends[:, :, 1:]
    bent = torch.rand(count, most, 1, 1, generator=generator, device=device) < 0.5
    bow = uniform((count, most, 1, 1), -bend, bend, generator, device) * bent * (end - start).flip(3)
    bow = bow * torch.tensor([1.0, -1.0], device=device)  # across the stroke
    along = torch.linspace(0, 1, 24, device=device).view(1, 1, 24, 1)
    points = start * (1 - along) + end * along + bow * 4 * along * (1 - along)  # (N, strokes, 24, 2)
    return drawn(points.flatten(1, 2), uniform((count,), 1, 5, generator, device))


def fitted(pictures: Tensor) -> Tensor:
    """Fit what there is into 20x20 and centre it by mass, as the service does with every picture that it cuts out."""
    count, device = len(pictures), pictures.device
    held = pictures > 0.3 * pictures.amax(dim=(1, 2), keepdim=True)
    ends = []
    for dim in (2, 1):  # across first
        line = held.any(dim=3 - dim).float()  # (N, 28)
        first, last = line.argmax(dim=1), SIZE - 1 - line.flip(1).argmax(dim=1)
        ends.append(torch.stack([first, last], dim=1).float())
    box = torch.stack(ends)  # (xy, N, first and last)
    zoom = (box[:, :, 1] - box[:, :, 0] + 1).amax(dim=0) / BOX
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = ((box.mean(dim=2) - (SIZE - 1) / 2) * 2 / SIZE).T
    grid = F.affine_grid(theta, [count, 1, SIZE, SIZE], align_corners=False)
    placed = F.grid_sample(pictures.unsqueeze(1), grid, align_corners=False).squeeze(1)
    place = torch.arange(SIZE, device=device, dtype=torch.float32) - (SIZE - 1) / 2
    mass = placed.sum(dim=(1, 2)).clamp(min=1)
    off = torch.stack([(placed.sum(dim=dim) * place).sum(dim=1) / mass for dim in (1, 2)], dim=1)  # (N, xy)
    whole = off.round().clamp(-4, 4).long()  # no further, or it would leave the picture
    line = torch.arange(SIZE, device=device)
    rows = (line + whole[:, 1:]).remainder(SIZE)[:, :, None].expand(-1, -1, SIZE)
    columns = (line + whole[:, :1]).remainder(SIZE)[:, None, :].expand(-1, SIZE, -1)
    return placed.gather(1, rows).gather(2, columns).clamp(0, WHITE)


def textured(inside: Tensor, generator: Generator) -> Tensor:
    """Give a filled shape, ``(N, 28, 28)`` in [0, 1], a shade and a texture, coarse or fine."""
    count, device = len(inside), inside.device
    coarse = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    texture = torch.where(coarse, smooth(count, 5, generator, device), smooth(count, 14, generator, device))
    texture = texture * uniform((count, 1, 1), 0, 0.4, generator, device)
    return inside * (uniform((count, 1, 1), 0.4, 1, generator, device) + texture).clamp(0, 1) * WHITE


def smooth(count: int, points: int, generator: Generator, device: torch.device) -> Tensor:
    """Smooth noise ``(N, 28, 28)``, about 1 strong, with so many bumps along a side."""
    spread = interpolation(points, device)
    return spread @ torch.randn(count, points, points, generator=generator, device=device) @ spread.T


def blobs(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Filled shapes: smooth noise cut at a level, half of them alike left and right, half of them fitted."""
    device = digits.images.device
    coarse = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    shape = torch.where(coarse, smooth(count, 4, generator, device), smooth(count, 7, generator, device))
    alike = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    shape = torch.where(alike, (shape + shape.flip(2)) / 1.4, shape)
    made = textured(((shape - uniform((count, 1, 1), -0.8, 0.5, generator, device)) * 6).clamp(0, 1), generator)
    cut_out = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    return torch.where(cut_out, fitted(made), made)


def silhouettes(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Filled outlines, alike left and right, whose width changes slowly from top to bottom; some gape at one end.

    They are fitted, as a vase or a jug in a photograph would be. None is as narrow as a 1, and none has a hole.
    """
    device = digits.images.device
    spread = interpolation(6, device)
    wide = (uniform((count, 6), 3, 13, generator, device) @ spread.T).unsqueeze(2)  # (N, 28, 1)
    along = torch.linspace(0, 1, SIZE, device=device).view(1, SIZE, 1)
    on_head = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    gap = uniform((count, 1, 1), -12, 0, generator, device) + 10 * torch.where(on_head, 1 - along, along)
    gapes = torch.rand(count, 1, 1, generator=generator, device=device) < 0.3
    gap = torch.where(gapes, gap, -1.0)
    aside = (torch.arange(SIZE, device=device) - (SIZE - 1) / 2).abs().view(1, 1, SIZE)
    tall = uniform((count, 1, 1), 5, 13, generator, device)
    down = (torch.arange(SIZE, device=device) - (SIZE - 1) / 2).abs().view(1, SIZE, 1)
    inside = (wide - aside).clamp(0, 1) * (aside - gap).clamp(0, 1) * (tall - down).clamp(0, 1)
    return fitted(textured(inside, generator))


def noise(digits: Digits, count: int, generator: Generator) -> Tensor:
    """Noise of every density and brightness, down to almost nothing."""
    device = digits.images.device
    density = uniform((count, 1, 1), 0, 1, generator, device) ** 2
    on = torch.rand(count, SIZE, SIZE, generator=generator, device=device) < density
    grains = torch.rand(count, SIZE, SIZE, generator=generator, device=device)
    wide = F.avg_pool2d((on * grains).unsqueeze(1), 3, stride=1, padding=1).squeeze(1) * 2
    blurred = torch.rand(count, 1, 1, generator=generator, device=device) < 0.5
    level = uniform((count, 1, 1), 0.05, 1, generator, device)
    return (torch.where(blurred, wide, on * grains) * level).clamp(0, 1) * WHITE


Kind = Callable[[Digits, int, Generator], Tensor]

# Pairs three times as often: whether two digits are one decides where a number is cut into digits.
KINDS: tuple[Kind, ...] = (
    turned,
    pairs,
    pairs,
    pairs,
    scribbles,
    segments,
    arcs,
    rings,
    ladders,
    blobs,
    silhouettes,
    noise,
)


def junk(images: Tensor, labels: Tensor, count: int, generator: Generator) -> Tensor:
    """Make ``count`` pictures, ``float32 (count, 28, 28)``, some of them out of digits ``(N, 28, 28)``."""
    digits = Digits(images.float(), labels)
    kind = torch.randint(len(KINDS), (count,), generator=generator, device=images.device)
    each = torch.bincount(kind, minlength=len(KINDS)).tolist()
    return torch.cat([make(digits, many, generator) for make, many in zip(KINDS, each, strict=True) if many])
