"""Methods: estimators that turn a task into a model. One file each: card, configuration, estimator."""
