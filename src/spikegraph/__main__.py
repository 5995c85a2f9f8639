"""`python -m spikegraph`."""

from spikegraph.cli import main

if __name__ == "__main__":
    main()
