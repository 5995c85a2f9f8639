"""The spike graph (the hub of everything), its checks and passes, quantization and file formats."""
