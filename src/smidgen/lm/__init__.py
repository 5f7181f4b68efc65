"""Language models on little: read a corpus, tokenize, train, measure, generate."""
