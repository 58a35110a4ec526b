"""`python -m snnlab` is `snnlab`."""

import sys

from snnlab.cli import main

sys.exit(main())
