"""Counts the multiply-adds of a network."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from app.imaging.digit_image import IMAGE_SIZE
from app.inference.networks import Network


def count_macs(network: Network) -> int:
    """Count the multiply-adds of convolutions and linear layers, for one picture."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8))
    return int(counter.get_total_flops()) // 2
