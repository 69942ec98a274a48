"""Pillow's resizing of 8-bit images, byte for byte, on any device."""
