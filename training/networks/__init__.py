"""Networks: flat modules that compute and do not remember; tensors in, tensors out."""
