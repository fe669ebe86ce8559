"""PyTorch checkpoint -> ONNX graphs -> model repository."""
