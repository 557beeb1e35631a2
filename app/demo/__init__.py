"""The demonstration: the flights of two days in February 2013, when a blizzard closed New York's airports."""
