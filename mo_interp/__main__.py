"""``python -m mo_interp`` is the command ``mo-interp``."""

from mo_interp.cli import main

if __name__ == "__main__":
    main()
