"""The run folder: record, TensorBoard, resume."""
