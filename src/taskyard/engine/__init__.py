"""Engine: what runs: the supervisor and its dispatchers, the pool of runners, the runner, the chores."""
