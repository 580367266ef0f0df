"""Training recognisers: `train.py` is the loop, `config.py` what it can be told."""
