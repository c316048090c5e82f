"""A model over many rows: the accessors ``series.npu`` and ``frame.npu``."""
