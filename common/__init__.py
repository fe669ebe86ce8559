"""What every area may use and none owns: how settings are read (``common.settings``), and where things lie (``common.places``).

Imports no other area.
"""
