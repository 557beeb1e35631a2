"""What we say: the topics and the records on them. Imports nothing of ours."""
