"""Datasets: found, read, checked row by row, and rendered as the model will learn them."""
