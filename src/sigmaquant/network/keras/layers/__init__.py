"""Writers of Keras layers, one module a kind."""
