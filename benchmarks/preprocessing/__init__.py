"""What preprocessing costs: decoders side by side, crops against decoding alone, detection against dlib's HOG, a long file."""
