"""A colour for every name, the same wherever it is drawn."""

import colorsys
import hashlib

TAKEN_APART = 24
"""Hues that are told apart; names share them."""


def colour_of(name: str) -> tuple[int, int, int]:
    """RGB, bright on photographs; made of the name alone, so that lists, images and runs agree."""
    digest = hashlib.sha256(name.encode()).digest()
    hue, lightness, saturation = digest[0] % TAKEN_APART / TAKEN_APART, (0.45, 0.6)[digest[1] % 2], 0.9
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)
