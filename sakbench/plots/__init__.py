"""Arrays in, matplotlib figures out; nothing here touches pyplot's global state."""
