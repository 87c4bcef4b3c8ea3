"""Online RL: sample, score, weigh, train, and again."""
