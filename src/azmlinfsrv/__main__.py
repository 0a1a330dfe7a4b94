"""``python -m azmlinfsrv``."""

from azmlinfsrv.cli import main

if __name__ == "__main__":
    main()
