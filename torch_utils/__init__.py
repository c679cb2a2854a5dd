"""What any PyTorch training program needs: addressed randomness, process groups, durable checkpoints, EMA, statistics, gradient hygiene.

Nothing in this package knows an image, a camera or a GAN.
"""
