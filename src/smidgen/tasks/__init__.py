"""What is to be learnt: tasks, readers, column kinds, splits, few-shot draws, metrics."""
