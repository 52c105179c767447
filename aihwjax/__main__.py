"""``python -m aihwjax`` is the command ``aihwjax``."""

from aihwjax.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
