"""Configurations survive the trip through JSON, and refuse with a name and a hint what does not fit."""

import json
import math
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlib.config import AnyFloat, flatten, from_dict, override, to_dict
from dnnlib.errors import UsageError


@dataclass(frozen=True, slots=True)
class Superres:
    channels: int = 32
    noise: Literal['none', 'random'] = 'random'


@dataclass(frozen=True, slots=True)
class Gaussian:
    yaw_std_deg: float = 17.0


@dataclass(frozen=True, slots=True)
class Sphere:
    radius: float = 2.7


@dataclass(frozen=True, slots=True)
class Gan:
    r1_gamma: float = 1.0
    style_mixing: float | None = None
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.r1_gamma < 0:
            raise UsageError(f'r1_gamma must not be negative, but is {self.r1_gamma}.')


@dataclass(frozen=True, slots=True)
class Config:
    gan: Gan = field(default_factory=Gan)
    superres: Superres | None = field(default_factory=Superres)
    cameras: Gaussian | Sphere | None = field(default_factory=Gaussian)
    levels: tuple[Gaussian | Sphere, ...] = ()
    near: float | Literal['box'] = 'box'
    size: tuple[int, float] = (64, 0.5)
    corners: tuple[tuple[float, float], ...] = ()
    far: AnyFloat = math.inf
    name: str = 'demo'
    mirror: bool = False
    limit: int | None = None
    mode: Literal['a', 'b', 3] = 'a'


def through_json(config):
    return from_dict(type(config), json.loads(json.dumps(to_dict(config), allow_nan=False)))


CHANGED = Config(
    gan=Gan(r1_gamma=5, style_mixing=0.9, blocks=(1, 2)),
    superres=None,
    cameras=Sphere(1.0),
    levels=(Sphere(3.0), Gaussian(1.0)),
    near=0.1,
    corners=((0.0, 1.0), (2.0, 3.0)),
    far=-math.inf,
    mirror=True,
    limit=7,
    mode=3,
)


@pytest.mark.parametrize('config', [Config(), CHANGED, replace(Config(), cameras=None)])
def test_round_trip(config) -> None:
    assert through_json(config) == config


@settings(max_examples=60, deadline=None)
@given(
    gamma=st.floats(0, allow_nan=False, allow_infinity=False, allow_subnormal=False),  # other tests flush such numbers in the same process
    blocks=st.lists(st.integers(-(2**70), 2**70)).map(tuple),
    superres=st.none() | st.builds(Superres, channels=st.integers(), noise=st.sampled_from(['none', 'random'])),
    cameras=st.none() | st.builds(Gaussian, yaw_std_deg=st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)) | st.just(Sphere()),
    name=st.text(),
)
def test_round_trip_of_any(gamma, blocks, superres, cameras, name) -> None:
    config = Config(gan=Gan(r1_gamma=gamma, blocks=blocks), superres=superres, cameras=cameras, name=name)
    assert through_json(config) == config


def test_what_an_older_file_lacks_takes_its_default_at_any_depth() -> None:
    data = to_dict(Config(cameras=Sphere(), gan=Gan(r1_gamma=3.0)))
    data['gan'].pop('blocks')
    data['cameras'].pop('radius')
    assert from_dict(Config, data, complete=True) == Config(cameras=Sphere(), gan=Gan(r1_gamma=3.0))
    with pytest.raises(UsageError, match='is missing'):
        from_dict(Config, data)
    with pytest.raises(UsageError, match='Unknown setting'):
        from_dict(Config, data | {'siz': 1}, complete=True)


def test_kind_names_a_member_of_the_union_only() -> None:
    data = to_dict(Config(cameras=Sphere()))
    assert data['cameras'] == {'kind': 'Sphere', 'radius': 2.7}
    assert 'kind' not in data['gan']
    for kind in ('os.system', 'Superres', 'sphere', None, ['Sphere'], {}):
        with pytest.raises(UsageError, match=r"'cameras\.kind' is .*Gaussian, Sphere"):
            from_dict(Config, data | {'cameras': {'kind': kind, 'radius': 1.0}})
    with pytest.raises(UsageError, match=r"'cameras\.kind' is missing"):
        from_dict(Config, data | {'cameras': {'radius': 1.0}})


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda d: d['gan'].update(r1_gama=d['gan'].pop('r1_gamma')), r"Unknown setting 'gan\.r1_gama'\. Did you mean 'gan\.r1_gamma'\?"),
        (lambda d: d['gan'].pop('r1_gamma'), r"'gan\.r1_gamma' is missing"),
        (lambda d: d['gan'].update(r1_gamma='abc'), r"'gan\.r1_gamma' must be a finite number, but is 'abc'"),
        (lambda d: d['gan'].update(r1_gamma=math.nan), r"'gan\.r1_gamma' must be a finite number, but is nan"),
        (lambda d: d['gan'].update(r1_gamma=True), r"'gan\.r1_gamma' must be a finite number"),
        (lambda d: d['gan'].update(r1_gamma=-1.0), r'gan: r1_gamma must not be negative'),
        (lambda d: d['gan'].update(blocks=[1, 2.5]), r"'gan\.blocks\.1' must be a whole number, but is 2\.5"),
        (lambda d: d.update(mirror=1), r"'mirror' must be true or false, but is 1"),
        (lambda d: d.update(size=[64]), r"'size' must be 2 values"),
        (lambda d: d.update(mode='c'), r"'mode' must be 'a' or 'b' or 3, but is 'c'"),
        (lambda d: d.update(near='bax'), r"'near' must be .*Did you mean 'box'\?"),
        (lambda d: d.update(gan=None), r"'gan' must be a group of settings \(Gan\), but is None"),
        (lambda d: d.update(gan=[]), r"'gan' must be a group of settings"),
    ],
)
def test_from_dict_is_strict(change, message) -> None:
    data = to_dict(Config())
    change(data)
    with pytest.raises(UsageError, match=message):
        from_dict(Config, data)


@pytest.mark.parametrize('data', [None, [], 'text', 3])
def test_from_dict_of_no_dict(data) -> None:
    with pytest.raises(UsageError, match='The configuration'):
        from_dict(Config, data)


def test_to_dict_checks_values() -> None:
    with pytest.raises(UsageError, match=r"'size'"):
        to_dict(Config(size=(1, 2, 3)))


@pytest.mark.parametrize(
    ('assignments', 'expected'),
    [
        (['gan.r1_gamma=5'], Config(gan=Gan(r1_gamma=5.0))),
        (['gan.r1_gamma=5', 'gan.r1_gamma = 1e-3'], Config(gan=Gan(r1_gamma=0.001))),
        (['gan.style_mixing=0.9'], Config(gan=Gan(style_mixing=0.9))),
        (['gan.blocks=4,8,16'], Config(gan=Gan(blocks=(4, 8, 16)))),
        (['gan.blocks=(4)'], Config(gan=Gan(blocks=(4,)))),
        (['gan.blocks='], Config()),
        (['size=[1, 2]'], Config(size=(1, 2.0))),
        (['corners=(0,1),(2,3)'], Config(corners=((0.0, 1.0), (2.0, 3.0)))),
        (['corners=[[0,1]]'], Config(corners=((0.0, 1.0),))),
        (['superres=none'], Config(superres=None)),
        (['superres.noise=none'], Config(superres=Superres(noise='none'))),
        (['cameras.yaw_std_deg=3'], Config(cameras=Gaussian(3.0))),
        (['cameras=none'], Config(cameras=None)),
        (['near=0.5'], Config(near=0.5)),
        (['near=box'], Config()),
        (['far=inf'], Config()),
        (['name=a=b'], Config(name='a=b')),
        (['mirror=yes', 'limit=3', 'limit=none'], Config(mirror=True)),
        (['mode=3'], Config(mode=3)),
        ([], Config()),
    ],
)
def test_override(assignments, expected) -> None:
    assert override(Config(), assignments) == expected


@pytest.mark.parametrize(
    ('assignment', 'message'),
    [
        ('gan.r1_gama=5', r"There is no setting 'gan\.r1_gama'\. Did you mean 'gan\.r1_gamma'\?"),
        ('r1_gamma=5', r"There is no setting 'r1_gamma'\. Did you mean 'gan\.r1_gamma'\?"),
        ('gna.r1_gamma=5', r"Did you mean 'gan\.r1_gamma'\?"),
        ('zzz=5', r'--dry-run'),
        ('gan.r1_gamma=abc', r"'gan\.r1_gamma' must be a finite number, but is 'abc'"),
        ('gan.r1_gamma=inf', r"'gan\.r1_gamma' must be a finite number"),
        ('gan.r1_gamma=none', r"'gan\.r1_gamma' must be a finite number"),
        ('gan.r1_gamma=-1', r'gan: r1_gamma must not be negative'),
        ('limit=2.5', r"'limit' must be a whole number or none, but is '2\.5'"),
        ('mirror=maybe', r"'mirror' must be true or false"),
        ('size=1,2,3', r"'size' must be 2 values"),
        ('gan.blocks=1,x', r"'gan\.blocks\.1' must be a whole number"),
        ('superres.noise=rendom', r"Did you mean 'random'\?"),
        ('superres=big', r"'superres' is a group of settings.*superres\.channels, superres\.noise.*superres=none"),
        ('gan=none', r"'gan' is a group of settings"),
        ('cameras.kind=Spere', r"'cameras\.kind' is 'Spere'; it must be one of: Gaussian, Sphere\. Did you mean 'Sphere'\?"),
        ('gan.kind=Gan', r"There is no setting 'gan\.kind'"),
        ('cameras=Sphere', r"'cameras' is a group of settings.*cameras\.yaw_std_deg.*another kind with cameras\.kind="),
        ('gan.r1_gamma.x=1', r"'gan\.r1_gamma' is a single setting"),
        ('gan.r1_gamma', r'write name=value'),
        ('=5', r'write name=value'),
    ],
)
def test_override_says_what_is_wrong(assignment, message) -> None:
    with pytest.raises(UsageError, match=message):
        override(Config(), [assignment])


def test_override_of_a_group_that_is_off() -> None:
    off = Config(superres=None, cameras=None)
    for assignments in (['superres.channels=8'], ['superres=none', 'superres.channels=8']):
        with pytest.raises(UsageError, match=r"'superres' is none .*superres=on"):
            override(off, assignments)
    with pytest.raises(UsageError, match=r"'cameras' is none .*cameras\.kind=\.\.\. \(one of: Gaussian, Sphere\)"):
        override(off, ['cameras.radius=2'])
    assert override(off, ['superres=on']) == Config(cameras=None)
    assert override(off, ['superres.channels=8', 'superres=on']).superres == Superres(channels=8)
    assert override(Config(superres=Superres(channels=8)), ['superres=on']).superres == Superres(channels=8), 'what is on stays as it is'
    assert override(off, ['cameras.radius=2', 'cameras.kind=Sphere']).cameras == Sphere(radius=2.0)


def test_another_kind_keeps_what_both_have() -> None:
    @dataclass(frozen=True, slots=True)
    class Near:
        radius: float = 1.0
        height: float = 0.0

    @dataclass(frozen=True, slots=True)
    class Named:
        name: str

    @dataclass(frozen=True, slots=True)
    class Law:
        cameras: Sphere | Near | Named = field(default_factory=lambda: Sphere(radius=4.0))

    assert override(Law(), ['cameras.kind=Near']).cameras == Near(radius=4.0)
    assert override(Law(), ['cameras.kind=Near', 'cameras.radius=3', 'cameras.height=1']).cameras == Near(3.0, 1.0)
    assert override(Law(), ['cameras.kind=Sphere']) == Law()
    assert override(Law(), ['cameras.kind=Near', 'cameras.kind=Sphere']) == Law(), 'the last one wins'
    with pytest.raises(UsageError, match=r"'cameras' cannot be switched on: 'cameras\.name' has no default.*preset"):
        override(Law(), ['cameras.kind=Named'])
    with pytest.raises(UsageError, match=r"There is no setting 'cameras\.height'"):
        override(Law(), ['cameras.height=1'])


def test_values_that_belong_together_change_together() -> None:
    @dataclass(frozen=True, slots=True)
    class Interval:
        low: float = 0.0
        high: float = 1.0

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise UsageError('low is above high')

    assert override(Interval(), ['low=5', 'high=6']) == Interval(5.0, 6.0)
    with pytest.raises(UsageError, match='low is above high'):
        override(Interval(), ['low=5'])


def test_flatten() -> None:
    flat = flatten(Config(superres=None))
    assert flat['gan.r1_gamma'] == 1.0
    assert flat['superres'] is None
    assert flat['cameras.kind'] == 'Gaussian'
    assert flat['size'] == (64, 0.5)
    assert 'gan' not in flat


def test_a_field_that_cannot_be_configured_is_our_bug() -> None:
    @dataclass(frozen=True)
    class Wrong:
        values: list[int]

    with pytest.raises(TypeError, match='cannot hold'):
        to_dict(Wrong([1]))
