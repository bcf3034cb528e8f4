"""How near a picture comes to the true one, and how steady it is in time: one measure a file.

Pictures are signals as the network gives them, (3, H, W), R'G'B' of BT.709 primaries, 1.0 = SDR white, any floating
dtype; everything is computed in float64. Negative values count as 0. NaN in a picture gives NaN.
"""
