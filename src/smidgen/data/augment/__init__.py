"""Changed copies of examples that keep what a label would say: views for learning without labels, for consistency
training, and plain augmentation. `pictures.py`: batches of images; `signals.py`: batches of windows; `texts.py`."""
