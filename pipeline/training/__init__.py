"""Training and evaluation of the network; nothing that converts a video imports this."""
