"""References to world data, as recipes write them."""

from __future__ import annotations

import pytest

from hizala import world
from hizala.errors import ConfigError
from hizala.world.sample import SAMPLERS


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_sampler_is_reached_by_its_name_with_its_defaults(name: str) -> None:
    assert world.resolve(f"world:{name}?n=7") == SAMPLERS[name](7)


def test_options_arrive_with_their_types() -> None:
    groups = world.resolve("world:chat?n=40&lang=tr&seed=3&tasks=arithmetic,style&think=0")
    assert groups == world.chat(40, 3, lang="tr", tasks=("arithmetic", "style"), think=0.0)
    assert {g.meta["lang"] for g in groups} == {"tr"}
    assert {g.meta["task"] for g in groups} == {"add", "sub", "mul", "word", "style"}
    assert world.resolve("world:rankings?n=5&k=3&noise=0.25") == world.rankings(5, k=3, noise=0.25)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("world:chatt", "did you mean 'chat'"),
        ("world:", "has no data ''"),
        ("chat", "not data of the world"),
        ("world:chat?nn=3", "did you mean 'n'"),
        ("world:chat?n=three", "not a whole number"),
        ("world:chat?n=2.5", "not a whole number"),
        ("world:chat?n=", "not a whole number"),
        ("world:preferences?noise=much", "not a number"),
        ("world:chat?n", "name=value"),
        ("world:chat?n=3&n=4", "given twice"),
        ("world:chat?lang=de", "does not speak"),
        ("world:chat?tasks=stil", "did you mean 'style'"),
        ("world:steps?tasks=add", "no option 'tasks'"),
        ("world:preferences?noise=0.7", "noise = 0.7"),
    ],
)
def test_a_wrong_reference_is_refused_naming_itself_and_the_nearest(ref: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        world.resolve(ref)
    assert ref in str(caught.value)
    assert caught.value.fix
