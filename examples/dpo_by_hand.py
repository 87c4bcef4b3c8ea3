"""DPO without a trainer: the loss is a function of log-probs. Three responses, one prompt, a policy of three logits."""

import torch

from hizala.core.logps import Pairs, SeqLogps
from hizala.core.losses.pairwise import dpo

rewards = torch.tensor([1.0, 0.0, -1.0])
beta = 0.5
reference = torch.tensor([0.2, 0.5, 0.3]).log()
logits = reference.clone().requires_grad_()
optimizer = torch.optim.Adam([logits], lr=0.05)


def one_token(values: torch.Tensor) -> SeqLogps:
    """Each response is a single token here."""
    count = torch.ones(len(values), dtype=torch.int64)
    return SeqLogps(values, torch.arange(len(values)), count)


better, worse = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
likely = torch.sigmoid(rewards[better] - rewards[worse])  # Bradley-Terry: how often the better one wins

for _ in range(600):
    policy = logits.log_softmax(0)
    ours = Pairs(one_token(policy[better]), one_token(policy[worse]))
    theirs = Pairs(one_token(reference[better]), one_token(reference[worse]))
    wins = dpo(ours, theirs, beta=beta).loss
    swapped = dpo(Pairs(ours.rejected, ours.chosen), Pairs(theirs.rejected, theirs.chosen), beta=beta).loss
    loss = (likely * wins + (1 - likely) * swapped).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

optimum = (reference + rewards / beta).softmax(0)  # the closed form: pi* is proportional to pi_ref exp(r / beta)
print("learned ", [round(p, 4) for p in logits.softmax(0).tolist()])
print("optimum ", [round(p, 4) for p in optimum.tolist()])
