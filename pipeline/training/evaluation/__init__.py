"""What `python -m hdrunet_video.training evaluate` is made of.

images     files -> arrays, arrays -> PNG
layouts    folders -> pairs of an SDR picture and its true HDR picture
models     names and files -> networks
measure    pairs and models -> rows of values
tables     rows -> text, CSV, Markdown
figures    one pair and its results -> pictures, as in the paper
page       rows and pictures -> one HTML page
"""
