"""Views: how the columns of a task become a matrix. What is learned (scales, vocabularies) is learned per training part."""
