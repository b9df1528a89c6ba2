"""Pictures of fractals, drawn from a seed: what random iterated function systems draw to themselves.

A picture has a few random affine maps `z -> a z + b conj(z) + c` of the plane, some of them followed by a warp. Points
jump by one map after another (the chaos game). How often they visit a pixel gives its brightness, on a logarithmic
scale, and by which maps they came there its colour.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sio_data.images import Pixels
from sio_data.progress import progress

Plane = npt.NDArray[np.complexfloating[Any, Any]]
Reals = npt.NDArray[np.floating[Any]]

_FEWEST = 1024  # points: many at once are quicker, but each takes some jumps until it counts
_WARM_UP = 12  # jumps until the points are on the fractal
_VISITS = 12  # of each pixel, on average
_FINER, _LARGE = 2, 96  # how much finer than its pixels a picture is drawn, if it is not large
_OUTSIDE = 0.04  # share of the points that may lie outside the picture, on each side
_TRIAL, _TRIES = 32, 50  # size of the pictures by which maps are chosen; how often to choose
_COVERED, _CONTRAST = 0.5, 0.24  # the least share of one that is lit; the least standard deviation of its light


@dataclass(frozen=True)
class _Map:
    """A random map of the plane, the colour it gives, and the share of the jumps that use it."""

    turn: complex
    reflection: complex
    shift: complex
    warp: Callable[[Plane], Plane]
    colour: float
    share: float

    def __call__(self, points: Plane) -> Plane:
        return self.warp(self.turn * points + self.reflection * points.conj() + self.shift)


_WARPS: tuple[Callable[[Plane], Plane], ...] = (
    lambda z: z,
    lambda z: 1.2 * (np.sin(z.real) + 1j * np.sin(z.imag)),
    lambda z: z / (np.abs(z) ** 2 + 0.25),
    lambda z: z * np.exp(1j * np.abs(z) ** 2),
    lambda z: z**2 / (np.abs(z) + 1e-6),
    lambda z: np.angle(z) / np.pi + 1j * (np.abs(z) - 1),
)


def draw_fractals(count: int, size: int, seed: int = 0) -> Pixels:
    """Draw pictures of fractals.

    Args:
        count: How many.
        size: Height and width in pixels.
        seed: The same seed gives the same pictures.

    Returns:
        uint8 [count, size, size, 3].
    """
    pictures = np.empty((count, size, size, 3), np.uint8)
    with progress("drawing fractals to mix in", count) as advance:
        for number, own_seed in enumerate(np.random.SeedSequence(seed).spawn(count)):
            pictures[number] = _draw(size, np.random.default_rng(own_seed))
            advance(1, "")
    return pictures


def _draw(size: int, rng: np.random.Generator) -> Pixels:
    """Draw a picture, uint8 [size, size, 3]."""
    maps = _draw_maps(rng)
    for _ in range(_TRIES):
        light, _ = _expose(maps, _TRIAL, rng)
        if (light > 0.1).mean() >= _COVERED and light.std() >= _CONTRAST:
            break
        maps = _draw_maps(rng)
    finer = 1 if size > _LARGE else _FINER
    light, colour = _expose(maps, size * finer, rng)
    speed, phase = rng.uniform(0.7, 2.2, 3), rng.random(3)
    foreground = 0.5 + 0.5 * np.cos(2 * np.pi * (colour[..., None] * speed + phase))
    background = rng.uniform(0, 0.6) * (0.5 - 0.5 * np.cos(2 * np.pi * phase))
    picture = background + light[..., None] * (foreground - background)
    coarse: Reals = picture.reshape(size, finer, size, finer, 3).mean((1, 3))
    return (coarse * 255 + 0.5).astype(np.uint8)


def _draw_maps(rng: np.random.Generator) -> list[_Map]:
    count = int(rng.integers(2, 6))
    longest = rng.uniform(0.45, 0.95, count)  # singular values: how much a map stretches, below 1
    ratio = rng.uniform(0.3, 1, count) * rng.choice([-1, 1], count)  # of the other to it; below 0 it mirrors
    turns, reflections = np.exp(2j * np.pi * rng.random((2, count))) * longest / 2 * np.stack([1 + ratio, 1 - ratio])
    shifts = rng.uniform(-1, 1, count) + 1j * rng.uniform(-1, 1, count)
    warps = rng.integers(len(_WARPS), size=count) * (rng.random() < 0.6)
    shares = longest**2 * np.abs(ratio) + 0.05
    shares /= shares.sum()
    colours = rng.random(count)
    numbers = zip(*(values.tolist() for values in (turns, reflections, shifts, warps, colours, shares)), strict=True)
    return [_Map(a, b, c, _WARPS[warp], colour, share) for a, b, c, warp, colour, share in numbers]


def _play(maps: list[_Map], count: int, jumps: int, rng: np.random.Generator) -> tuple[Plane, Reals]:
    """Let points jump, and give all places where they were, with their colours: [jumps, count] each."""
    points = (rng.uniform(-1, 1, count) + 1j * rng.uniform(-1, 1, count)).astype(np.complex64)
    shades = np.full(count, 0.5, np.float32)
    bounds = np.round(np.cumsum([0, *(chosen.share for chosen in maps)]) * count).astype(int).tolist()
    places, colours = np.empty((jumps, count), np.complex64), np.empty((jumps, count), np.float32)
    for jump in range(-_WARM_UP, jumps):
        order = rng.permutation(count)
        points, shades = points[order], shades[order]
        for chosen, start, end in zip(maps, bounds, bounds[1:], strict=False):
            points[start:end] = chosen(points[start:end])
            shades[start:end] = (shades[start:end] + chosen.colour) / 2
        if jump >= 0:
            places[jump], colours[jump] = points, shades
    return places, colours


def _expose(maps: list[_Map], side: int, rng: np.random.Generator) -> tuple[Reals, Reals]:
    """Give the light of each pixel and its mean colour, each float [side, side] in [0, 1]."""
    count = max(_FEWEST, side**2 // 8)
    places, shades = _play(maps, count, max(_WARM_UP, _VISITS * side**2 // count), rng)
    first = places[:_WARM_UP]
    edges = np.quantile(np.stack([first.imag, first.real]), [_OUTSIDE, 1 - _OUTSIDE], axis=(1, 2))
    scale = side / max(*(edges[1] - edges[0]), 1e-6)
    middle = edges.mean(0)
    rows = np.floor((places.imag - middle[0]) * scale + side / 2)
    columns = np.floor((places.real - middle[1]) * scale + side / 2)
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    pixels = (rows[inside] * side + columns[inside]).astype(np.int64)
    visits = np.bincount(pixels, minlength=side**2)
    colour = np.bincount(pixels, shades[inside], minlength=side**2) / np.maximum(visits, 1)
    light = np.log1p(visits)
    light = (light / max(np.quantile(light, 0.99), 1e-9)).clip(0, 1) ** 0.8
    return light.reshape(side, side), colour.reshape(side, side)
