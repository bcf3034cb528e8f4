"""`python -m hdrunet_video`: the command line."""

from .cli import main

raise SystemExit(main())
