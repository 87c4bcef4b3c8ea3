"""Five hundred honest programs get the verdict they deserve, and as fast with others beside them."""

from __future__ import annotations

from collections import Counter

from honest_programs import FORMS, programs
from sandboxes import NEEDS

from hizala.engines.reward.sandbox import Judge, Limits, Sandbox, read_cases


@NEEDS
def test_five_hundred_programs_are_judged_right() -> None:
    corpus = programs(500)
    assert len({(program.source, str(program.tests)) for program in corpus}) > 450
    kinds = Counter(program.label.split()[1] for program in corpus)
    assert min(kinds[form] for form in FORMS) >= 100
    assert sum(not program.right for program in corpus) >= 150
    with Sandbox(limits=Limits(seconds=20.0, cpu_seconds=10.0)) as sandbox:
        judge = Judge(sandbox, workers=2)
        results = judge.many([(program.source, read_cases(program.tests)) for program in corpus])
        judge.close()
    wrongly = [
        (program.label, program.source, program.tests, found)
        for program, found in zip(corpus, results, strict=True)
        if all(result.passed is True for result in found) != program.right
        or any(result.passed is None for result in found)
    ]
    assert wrongly == []
