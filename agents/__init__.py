"""When we act: one file a step, each a machine that turns records and due rows into rows and records."""
