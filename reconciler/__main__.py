"""`python -m reconciler` is `vio4wd`."""

import sys

from reconciler.cli import main

sys.exit(main())
