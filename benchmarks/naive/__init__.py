"""The baseline: what a good engineer writes in plain PyTorch who has the papers before him and nothing else.

StyleGAN2 (arXiv 1912.04958) and EG3D (arXiv 2112.07945), one operation per sentence of the text, images as NCHW, everything in float32, the
defaults of PyTorch. It is no straw man: where two ways are equally plain the faster one was taken, and tests/benchmarks/test_naive.py shows
that it computes the same numbers as the networks it is compared with, from the same weights.
"""
