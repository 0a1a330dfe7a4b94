"""A bar chart as SVG, in plain text."""

from __future__ import annotations

from html import escape

WIDTH, LABEL, BAR, GAP, MARGIN = 860, 230, 20, 8, 20
COLOURS = {"ours": "#1f6feb", "limit": "#b5b5b5", "other": "#7a8ba6"}


def chart(heading: str, bars: list[tuple[str, float, str]]) -> str:
    """Return a chart.

    Args:
        heading: what is shown.
        bars: label, value and kind (``ours``, ``limit`` or ``other``) of each bar.

    Returns:
        The text of an SVG file.
    """
    height = MARGIN * 2 + 30 + len(bars) * (BAR + GAP)
    longest = max((value for _, value, _ in bars), default=1.0)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 12}" font-size="15" font-weight="bold">{escape(heading)}</text>',
    ]
    for number, (label, value, kind) in enumerate(bars):
        top = MARGIN + 30 + number * (BAR + GAP)
        length = max(1.0, value / longest * (WIDTH - LABEL - 2 * MARGIN - 70))
        middle = top + BAR - 5
        lines += [
            f'<text x="{LABEL}" y="{middle}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LABEL + 8}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[kind]}"/>',
            f'<text x="{LABEL + 14 + length:.1f}" y="{middle}">{value:,.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
