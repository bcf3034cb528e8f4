"""hdrunet-video: 8-bit SDR video to HDR with HDRUNet (Chen et al., CVPRW 2021)."""

__version__ = "0.1.0"
