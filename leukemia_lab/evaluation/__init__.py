"""Everything that reads the predictions table: metrics, figures, tables."""
