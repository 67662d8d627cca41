"""Data sets as checked files and tensors."""
