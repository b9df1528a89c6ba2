"""The built-in generator back ends, one file each; installed as sio_data.generators and found by entry point."""
