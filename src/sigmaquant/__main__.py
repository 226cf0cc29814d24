"""``python -m sigmaquant``."""

from sigmaquant.cli.main import main

if __name__ == "__main__":
    main()
