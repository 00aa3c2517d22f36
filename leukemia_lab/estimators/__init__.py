"""What learns: the one LightningModule, later the classical baselines."""
