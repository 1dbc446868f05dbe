"""The same pipeline without a browser: ``python -m fairquant_core COMMAND``; ``--help`` lists the commands."""

from __future__ import annotations

import sys

from fairquant_core.command_line import main

if __name__ == "__main__":
    sys.exit(main())
