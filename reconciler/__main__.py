"""`python -m reconciler` is `vio4wd`."""

import os
import sys

here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if not sys.flags.safe_path and sys.path[0] != here:
    del sys.path[0]  # the directory that it was started in, which may be anybody's: no module is taken from there

from reconciler.cli import main  # noqa: E402

sys.exit(main())
