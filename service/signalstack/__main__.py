"""Starts the command line: `signalstack` and `python -m signalstack`."""

from signalstack.cli import main

if __name__ == "__main__":
    main()
