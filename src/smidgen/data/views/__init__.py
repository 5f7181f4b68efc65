"""Views: how the columns of a task become a matrix. What is learned is learned on each training part."""
