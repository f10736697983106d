"""What DNS said: known, kept, put into the plan, and shown."""
