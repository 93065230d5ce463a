"""`python -m dlgutils audit …`: what a network gives away, from a shell."""

import sys

from dlgutils.auditing.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
