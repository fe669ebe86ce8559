"""What the console's API adds to an analysis, and what it costs while nothing happens."""
