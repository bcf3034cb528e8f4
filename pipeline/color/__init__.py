"""Colour: what the numbers in a picture mean, and how one meaning becomes another.

Four words name the light domain everywhere: `coded` (integers as in the file), `signal` (non-linear R'G'B', 0..1),
`light` (linear, 1.0 = diffuse white) and `nits` (linear, cd/m2).
"""
