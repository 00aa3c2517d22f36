"""Are published tables possible? Exact arithmetic on printed rates, without pandas or torch."""
