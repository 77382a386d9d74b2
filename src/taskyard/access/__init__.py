"""Access: who asks, what they may do, whose things they see, and a record of what they changed."""
