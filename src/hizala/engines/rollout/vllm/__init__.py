"""Generation by vLLM, in this process or as a server beside it; vLLM itself is imported only when a sampler starts."""
