"""More texts of a class from a language model that was over-fitted on it, with what drifts, copies or repeats dropped
(Bayer et al., 2021, arXiv 2103.14453)."""
