"""The child process: the only place that imports openvino_genai."""
