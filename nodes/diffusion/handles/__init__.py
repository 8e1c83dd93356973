"""Values on wires: small frozen descriptions of models, datasets, results, adapters, recipes and settings. No torch."""
