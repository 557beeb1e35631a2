"""What lies outside of our tables: producing to and following Kafka, and ClickHouse."""
