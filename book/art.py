"""Draw the book's own pictures: `python book/art.py` rewrites the SVG files in `book/_assets`.

All three show one generator, a sheet that bends along its first coordinate only:
g(a, b) = (a, b, h(a)). Its first singular value depends on a alone and its second is constant, so
it satisfies C1 and C2 exactly, and its seams are the images of the two coordinate directions. A
decoder with a full posterior is drawn as the same sheet after a rotation of the latent plane.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

ASSETS = Path(__file__).parent / "_assets"
BLUE, RED, GREEN, GREY, INK = "#0072b2", "#d55e00", "#009e73", "#8a94a3", "#3d4654"
MARK_BLUE, MARK_RED = "#3a86bd", "#de6a1f"  # between the two themes' backgrounds in lightness
REACH = 1.25  # the sheet covers [-REACH, REACH] squared
TURN = math.radians(32)  # the rotation of the full-posterior decoder

Point = tuple[float, float]


def sheet(a: float, b: float) -> Point:
    """Oblique projection of g(a, b), one unit of the screen to one unit of a."""
    height = 0.3 * math.sin(2.1 * a + 0.5)
    return 0.92 * a - 0.34 * b, 0.16 * a - height - 0.62 * b


def rotated(point: Point, angle: float) -> Point:
    """The point turned counter-clockwise by `angle`."""
    a, b = point
    return (
        a * math.cos(angle) - b * math.sin(angle),
        a * math.sin(angle) + b * math.cos(angle),
    )


def path(points: Iterable[Point], centre: Point, scale: float, style: str) -> str:
    """A polyline through `points`, placed at `centre` and drawn `scale` units large."""
    steps = " ".join(f"{centre[0] + scale * x:.1f},{centre[1] + scale * y:.1f}" for x, y in points)
    return f'<polyline points="{steps}" {style}/>'


def curve(
    start: Point, end: Point, image: Callable[[float, float], Point], n: int = 48
) -> list[Point]:
    """Image of the segment from `start` to `end`, as `n` + 1 points."""
    return [
        image(
            start[0] + (end[0] - start[0]) * k / n,
            start[1] + (end[1] - start[1]) * k / n,
        )
        for k in range(n + 1)
    ]


def stroke(colour: str, width: float, dash: str = "", opacity: float = 1.0) -> str:
    """SVG attributes of an unfilled line."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    faint = f' stroke-opacity="{opacity}"' if opacity < 1 else ""
    return (
        f'fill="none" stroke="{colour}" stroke-width="{width}" stroke-linecap="round" '
        f'stroke-linejoin="round"{dashes}{faint}'
    )


def outline() -> list[Point]:
    """The border of the sheet, once around."""
    corners = [
        (-REACH, -REACH),
        (REACH, -REACH),
        (REACH, REACH),
        (-REACH, REACH),
        (-REACH, -REACH),
    ]
    border: list[Point] = []
    for start, end in zip(corners, corners[1:], strict=False):
        border += curve(start, end, sheet)
    return border


def chord(offset: float, angle: float, radius: float) -> tuple[Point, Point]:
    """Ends of the line at `angle` that passes the origin at `offset`, inside a disc."""
    half = math.sqrt(radius**2 - offset**2)
    return rotated((-half, offset), angle), rotated((half, offset), angle)


def text(
    x: float, y: float, words: str, colour: str = INK, size: int = 15, style: str = ""
) -> str:
    """One centred line of text."""
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}" text-anchor="middle" '
        f"{style}>{words}</text>"
    )


def panel(left: float, angle: float, title: str, caption: str) -> list[str]:
    """Latent plane and manifold of one decoder, d(z) = g(rotation by -angle of z)."""
    plane, manifold, scale, radius = (left + 100, 152), (left + 335, 158), 66.0, 1.25
    flat = lambda a, b: (a, -b)
    decoder = lambda a, b: sheet(*rotated((a, b), -angle))
    parts = [text(left + 225, 26, title, size=15, style='font-weight="600"')]
    for ring in (0.42, 0.84, 1.25):
        parts.append(
            f'<circle cx="{plane[0]}" cy="{plane[1]}" r="{ring * scale:.1f}" '
            f'fill="{BLUE}" fill-opacity="0.06" stroke="{GREY}" stroke-opacity="0.35"/>'
        )
    parts.append(path(outline(), manifold, scale, f'fill="{RED}" fill-opacity="0.06"'))
    parts.append(path(outline(), manifold, scale, stroke(GREY, 1.2)))

    axis = curve((-radius, 0.0), (radius, 0.0), flat)
    parts.append(path(axis, plane, scale, stroke(GREEN, 5, opacity=0.75)))
    image = curve((-radius, 0.0), (radius, 0.0), decoder)
    parts.append(path(image, manifold, scale, stroke(GREEN, 5, opacity=0.75)))
    for turn in (0.0, math.pi / 2):
        for offset in (-0.62, 0.0, 0.62):
            ends = chord(offset, angle + turn, radius)
            width = 2.0 if offset == 0.0 else 1.3
            opacity = 1.0 if offset == 0.0 else 0.65
            parts.append(
                path(curve(*ends, flat), plane, scale, stroke(BLUE, width, "6 5", opacity))
            )
            parts.append(
                path(curve(*ends, decoder), manifold, scale, stroke(RED, width, "6 5", opacity))
            )
    for centre, where in ((plane, flat(0, 0)), (manifold, sheet(0, 0))):
        x, y = centre[0] + scale * where[0], centre[1] + scale * where[1]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{INK}"/>')
    arrow = f"M{left + 194},{152} h34 m-8,-6 l8,6 l-8,6"
    parts.append(f'<path d="{arrow}" {stroke(INK, 1.6)}/>')
    parts.append(text(left + 211, 138, "d", style='font-style="italic"'))
    parts.append(text(left + 225, 286, caption, size=13))
    return parts


def illustration() -> str:
    """Full against diagonal posterior: where an axis of the latent plane goes."""
    legend = [
        ("singular-vector paths", BLUE, "6 5", 2.0, 118),
        ("seams", RED, "6 5", 2.0, 324),
        ("an axis of the latent space, and its image", GREEN, "", 5.0, 446),
    ]
    parts = panel(0, TURN, "Full posterior", "the image of the axis cuts across the seams")
    parts += panel(470, 0.0, "Diagonal posterior", "the image of the axis is a seam")
    for words, colour, dash, width, x in legend:
        parts.append(f'<path d="M{x},326 h34" {stroke(colour, width, dash)}/>')
        parts.append(f'<text x="{x + 44}" y="331" fill="{INK}" font-size="13">{words}</text>')
    return drawing("0 0 920 352", "Full and diagonal posteriors compared", parts)


def mark(width: float, lines: tuple[float, ...]) -> list[str]:
    """The sheet with stitched seams, in a square of 64 units."""
    centre, scale = (32.0, 32.5), 19.5
    parts = [path(outline(), centre, scale, f'fill="{MARK_BLUE}" fill-opacity="0.18"')]
    parts.append(path(outline(), centre, scale, stroke(MARK_BLUE, width)))
    for offset in lines:
        along = curve((-REACH, offset), (REACH, offset), sheet)
        across = curve((offset, -REACH), (offset, REACH), sheet)
        dash = f"{2.2 * width:g} {1.9 * width:g}"
        parts.append(path(along, centre, scale, stroke(MARK_RED, width, dash)))
        parts.append(path(across, centre, scale, stroke(MARK_RED, width, dash)))
    return parts


def drawing(view: str, title: str, parts: list[str]) -> str:
    """The SVG document that holds `parts`."""
    font = "system-ui, Segoe UI, Roboto, Helvetica, Arial, DejaVu Sans, sans-serif"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" font-family="{font}" '
        f'role="img"><title>{title}</title>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def main() -> None:
    """Write the logo, the favicon and the illustration."""
    box = "0 0 64 64"
    (ASSETS / "logo.svg").write_text(drawing(box, "Seams", mark(2.0, (-0.42, 0.42))))
    (ASSETS / "favicon.svg").write_text(drawing(box, "Seams", mark(3.2, (0.0,))))
    (ASSETS / "seams.svg").write_text(illustration())


if __name__ == "__main__":
    main()
