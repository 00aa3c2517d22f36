"""From a tree of images to an index, a split and a decoded cache."""
