"""Templates of the cards that go with sets, generators and checkpoints; installed as sio_data.cards."""
