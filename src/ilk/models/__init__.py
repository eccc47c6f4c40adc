"""Networks: backbones and their weights, the Network itself, and the file it is kept in."""
