"""The same pipeline without a browser: ``python -m fairquant_core COMMAND``; ``--help`` lists the commands."""

from __future__ import annotations

import os
import sys

from fairquant_core.command_line import main
from fairquant_core.threads import wait_asleep

if __name__ == "__main__":
    wait_asleep(os.environ)
    sys.exit(main())
