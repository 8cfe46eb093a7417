"""Gathers pieces of ink in the lines of writing that they belong to."""

from collections.abc import Sequence

from app.imaging.pieces import Piece, enclose_pieces

TALL = 0.5  # of a digit's height: a piece this tall may be a digit
MAX_COMMA = 0.7  # of a digit's height
MIN_PIECE = 0.15  # of a digit's height: a piece this long may be a part of a digit
PART_GAP = 0.3  # between a small piece and the line that it belongs to, in heights of a digit
COMMA_GAP = 0.5  # between a large comma and its line, in heights of a digit
FRAGMENT_GAP, MAX_FRAGMENTS = 0.15, 4  # of a torn digit; the gap in heights of a digit
MAX_RISE = 0.6  # between the middles of neighbours on a line, in heights of a digit
MAX_STEP = 1.0  # between the middles of two parts of a line, none of which is above the other: in the boxes of a form


def group_into_rows(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Gather the pieces of each line, top to bottom.

    Tall pieces come first, left to right, and with them the fragments of torn digits. Each joins the row at its height,
    or starts a new one. Then each smaller piece joins the row that it is close to. So does a lone stroke that may be
    a large comma. A small piece that is close to none is left out.
    """
    if not pieces:
        return []
    digit_height = estimate_digit_height(pieces)
    tall = [[piece] for piece in pieces if piece.box.height >= TALL * digit_height]
    small = [p for p in pieces if p.box.height < TALL * digit_height and p.box.longer_side > MIN_PIECE * digit_height]
    torn = [near for near in group_near(small, FRAGMENT_GAP * digit_height) if is_torn_digit(near, digit_height)]
    rows: list[list[Piece]] = []
    for digit in sorted(tall + torn, key=lambda digit: enclose_pieces(digit).left):
        box = enclose_pieces(digit)
        middle = (box.top + box.bottom) / 2
        # A line that slopes is followed: only its last three pieces tell how high it is here.
        near_rows = [row for row in rows if abs(middle - mean_middle(row[-3:])) < MAX_RISE * digit_height]
        if near_rows:
            min(near_rows, key=lambda row: abs(middle - mean_middle(row[-3:]))).extend(digit)
        else:
            rows.append(list(digit))
    rows = join_side_by_side(rows, MAX_STEP * digit_height)
    commas = [row for row in rows if len(row) == 1 and row[0].box.height < MAX_COMMA * digit_height]
    rows = [row for row in rows if row not in commas]
    marks = [[piece] for piece in small if not any(piece in digit for digit in torn)]
    for row in commas + marks:
        gaps = [(min(row[0].box.gap(other.box) for other in near), i) for i, near in enumerate(rows)]
        gap, nearest = min(gaps, default=(digit_height, 0))
        if gap < (COMMA_GAP if row in commas else PART_GAP) * digit_height:
            rows[nearest] += row
        elif row in commas:
            rows.append(row)
    return sorted(rows, key=lambda row: enclose_pieces(row).top)


def join_side_by_side(rows: Sequence[list[Piece]], max_step: float) -> list[list[Piece]]:
    """Join rows at almost the same height if no piece of one is above or below a piece of the other."""
    joined: list[list[Piece]] = []
    for row in rows:
        for other in joined:
            if abs(mean_middle(other) - mean_middle(row)) < max_step and all(
                a.box.right <= b.box.left or b.box.right <= a.box.left for a in row for b in other
            ):
                other += row
                break
        else:
            joined.append(row)
    return joined


def mean_middle(pieces: Sequence[Piece]) -> float:
    """Return the mean of the vertical middles of pieces."""
    return sum(piece.box.top + piece.box.bottom for piece in pieces) / (2 * len(pieces))


def group_near(pieces: Sequence[Piece], max_gap: float) -> list[list[Piece]]:
    """Group pieces that are near each other, directly or through others."""
    groups: list[list[Piece]] = []
    for piece in pieces:
        near = [group for group in groups if any(piece.box.gap(other.box) <= max_gap for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([piece, *(other for group in near for other in group)])
    return groups


def is_torn_digit(pieces: Sequence[Piece], digit_height: float) -> bool:
    """Return whether these small pieces together are as large as a digit. More are a dotted line."""
    box = enclose_pieces(pieces)
    return 2 <= len(pieces) <= MAX_FRAGMENTS and box.height >= TALL * digit_height and box.width <= digit_height


def estimate_digit_height(pieces: Sequence[Piece]) -> float:
    """Return the height of a digit, in pixels: the median height of the pieces, weighted by ink to ignore dirt."""
    heights = sorted(((p.box.height, p.area) for p in pieces), reverse=True)
    total, seen = sum(area for _, area in heights), 0
    for height, area in heights:
        seen += area
        if seen >= total / 2:
            return float(height)
    return float(heights[-1][0])
