"""What each role does with a record: machines that turn records and timers into rows and records.

A machine does no I/O. What does stands beside them: the executor of provider calls, and the analytics loop."""
