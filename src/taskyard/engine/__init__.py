"""Engine: what runs: the supervisor, its dispatchers and chores, the pool and its runners."""
