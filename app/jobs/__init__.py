"""Jobs that one gateway at a time runs: which gateway that is, and how fast they go."""
