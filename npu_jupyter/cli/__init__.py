"""``jupyter npu …``: the command line."""
