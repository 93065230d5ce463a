"""Differential privacy by Opacus: one private round, private training, and ε at δ.

`dlgutils` does not import this module, since it needs Opacus: `pip install "dlgutils[dp]"`, then
`from dlgutils.federated import dp_sgd`. Two promises go by one name:

- **Example-level** (Abadi et al. 2016, arXiv:1607.00133): each *example's* gradient is clipped,
  noise is added to their sum. What leaves depends little on any one image: `private_round`,
  `train`, `epsilon`.
- **Client-level** (McMahan et al. 2018, arXiv:1710.06963): each *client's* whole update is clipped,
  and noise is added by the server to the sum over clients, or by the client to its own update.
  What is published depends little on any one client: `epsilon_of_sum`, `epsilon_of_client`.

Noise without a clip before it bounds nothing, and has no ε. The accountant is that of Rényi
differential privacy (Mironov 2017, arXiv:1702.07476), which is quick for every ε and a little too
careful. Noise is drawn by a generator that can be seeded: right for experiments, not for secrets,
for which Opacus has `secure_mode`.
"""

from dlgutils.federated.dp_sgd.accounting import (
    epsilon,
    epsilon_of_client,
    epsilon_of_sum,
    noise_multiplier_for,
)
from dlgutils.federated.dp_sgd.training import Private, private_round, train

__all__ = [
    "Private",
    "epsilon",
    "epsilon_of_client",
    "epsilon_of_sum",
    "noise_multiplier_for",
    "private_round",
    "train",
]
