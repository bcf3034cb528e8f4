"""What the network is compared with: one file each, the same contract as the network (signal to signal)."""
