"""A small image classifier, trained on CIFAR-10 and Tiny-ImageNet-20 by this package, whose pooled features serve the offline image metrics."""
