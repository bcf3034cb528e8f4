"""What this machine makes of the network, of every stage and of all of it at once: `python -m hdrunet_video.bench`."""
