"""Batched image operations that run where the data is: LoG filter, augmentation, input pipeline."""
