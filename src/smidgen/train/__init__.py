"""The engine: one loop of visible steps, optimizers, schedules, checkpoints, recovery, sharding; it knows no method."""
