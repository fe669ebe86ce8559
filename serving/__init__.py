"""The embedded Triton: launcher and the Python-based backends."""
