"""Augmentation of what the discriminator sees: it knows images and randomness, no camera and no network."""
