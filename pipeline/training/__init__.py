"""The training system: `python -m hdrunet_video.training CONFIG.toml`. Nothing at run time imports it.

    config      a TOML file -> Config, every field checked and documented
    images      one picture file -> linear light
    sources     folders -> items: which pictures there are, of which scenes
    cache       items -> memory-mapped pictures, decoded once
    views       a picture -> the light that a camera sees, standing or moving
    degrade     light -> what 8-bit video keeps of it; codec.py has JPEG, WebP, H.264 and HEVC
    data        the samples of a run by number: the same number gives the same sample, everywhere
    losses      what is minimised; steady.py has the part that compares frames of a pair
    optimize    optimizer, learning rate, averaged weights
    loop        the run
    validate    PSNR-mu and PSNR-L on scenes that are never trained on
    checkpoint  files that appear complete or not at all
    progress    the bar, the log and TensorBoard
    report      one page at the end

Begin to read at start.py.
"""
