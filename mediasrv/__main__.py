"""`python -m mediasrv`."""

import sys

from mediasrv.cli import main

if __name__ == "__main__":
    sys.exit(main())
