"""Training and evaluation of the network; nothing that converts a video imports this.

    config      a TOML file -> Config, every field checked and documented; effects.py refuses what would do nothing
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
    evaluate    `python -m hdrunet_video.training evaluate`: tables and figures of any model, in evaluation/

Begin to read at start.py.
"""
