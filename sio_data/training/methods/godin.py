"""Generalised ODIN, the variant DeConf-C (Hsu et al., CVPR 2020, arXiv 2002.11297).

    L = CE(h(x) / g(x), y),  h_c = cos(f, w_c),  g = sigmoid(BN(w_g f + b_g))

The fractions are the logits, by the head `cosine`, whose `numerator` gives h, what the method scores with. As in the
paper, the weights w_c are without weight decay. Their learning rate follows the same schedule as every other; in
OpenOOD it stays at its first value to the end.
"""

from dataclasses import dataclass
from typing import ClassVar

from sio_data.training.methods.cross_entropy import CrossEntropy


@dataclass(frozen=True)
class GODIN(CrossEntropy):
    """Cross-entropy on a cosine similarity that is divided by a learnt confidence."""

    head: ClassVar[str] = "cosine"
