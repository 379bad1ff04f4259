"""Networks: the dual-headed U-Net of Stebani et al. 2023."""

from otovox.networks.unet import DualHeadUNet, Output

__all__ = ["DualHeadUNet", "Output"]
