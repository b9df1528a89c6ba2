"""Lets `python -m sio_data` do what `sio-data` does."""

from sio_data.cli import run

if __name__ == "__main__":
    run()
