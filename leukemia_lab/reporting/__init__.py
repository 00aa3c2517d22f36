"""Reports of finished runs: found, ranked within one split, drawn, and written as one page."""
