"""What every room may use: errors, ids, the clock, limits, tasks, logs. Imports nothing of ours."""
