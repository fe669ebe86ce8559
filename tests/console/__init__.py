"""The console, against a real Triton."""
