"""Train spiking networks in PyTorch with the chip's arithmetic and lower them to float graphs."""
