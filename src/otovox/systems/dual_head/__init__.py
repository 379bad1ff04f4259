"""The dual-headed U-Net of Stebani et al. 2023."""
