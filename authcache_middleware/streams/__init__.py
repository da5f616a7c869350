"""What goes through Redis Streams and beside them: queues, events for other services, who was seen when."""
