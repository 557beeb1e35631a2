"""Jobs that one gateway at a time runs: which there are, which gateway that is, how they go on, and how fast."""
