"""The engine: models in worker processes, and who may use them when."""
