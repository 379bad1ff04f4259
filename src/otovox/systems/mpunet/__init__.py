"""MPUNet, the multi-planar U-Net of Perslev et al. 2019."""
