"""The whole chain from Python in ten lines: SFT, DPO, evaluation and a report, on the embedded world."""

import hizala

recipe = hizala.recipe(
    name="python-api",
    stages=[
        {"sft": {"data": "world:chat?n=500"}},
        {"dpo": {"data": "world:preferences?n=500", "beta": 0.1, "chosen_nll_weight": 1.0}},
        {"evaluate": {"suites": ["world"], "prompts": 100}},
    ],
)
result = hizala.run(recipe)
for row in result.results["paired"] if result.results else ():
    print(f"{row['a']} -> {row['b']}  {row['metric']}: {row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]")
print(result.report)
