"""Reading from Kafka: whatever a broker may hold, and only what was committed."""
