"""What a classical model sees of a cell: pixels, morphology, or what a net makes of it."""
