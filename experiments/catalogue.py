"""The experiments by name, with the bars of their claims."""

from dataclasses import replace

from experiments.experiment import Arm, Bar, Experiment

_QUERY = 'poses=wide&background=white&resolution=32&count=10000&seed='
_CAR = f'synthetic:car?{_QUERY}'
_TOYWORLD = f'synthetic:toyworld8?{_QUERY}'
_COLUMNS = (
    'slope', 'pose_error', 'sw_aligned', 'depth_r', 'depth_std_ratio', 'thickness_relative', 'nfs_object', 'class_accuracy', 'fd_photo', 'coverage',
    'oracles_azimuth',
)
_CURVES = ('fd_photo', 'class_accuracy', 'slope', 'pose_error', 'sw_aligned', 'depth_r')

# The bars on distance were set for another network's features: 2.0 for the car where an untrained generator scores 10.3, and 1.2 of 7.8 for the
# eight classes. In photo features an untrained generator scores 35.2 and 33.8 (1000 images, mean of two seeds), so the same shares are 6.8 and 5.2.

E1 = Experiment(
    name='E1',
    claim='EG3D learns the shape of cars from pictures with known cameras, and each part of the recipe does what it is said to do.',
    preset='demo',
    data=f'{_CAR}0',
    held_out=f'{_CAR}1',
    kimg=20.0,
    arms={
        'A': Arm('the preset: cameras known to the discriminator'),
        'B': Arm('camera labels shuffled among the pictures', (f'data.path={_CAR}0&cameras=shuffled',)),
        'C': Arm('the discriminator is not told the camera', ('discriminator.conditions_on_camera=false',)),
        'D': Arm(
            'no rendering: the planes are the picture, the camera is a label',
            ('generator.picture=flat', 'generator.conditions_on_camera=true', 'gan.camera_swap_final=0', 'gan.camera_swap_fade_kimg=0'),
        ),
    },
    bars=(
        Bar('A', 'slope', 0.85, 1.25),
        Bar('A', 'pose_error', high=12.0),
        Bar('A', 'sw_aligned', high=0.08),
        Bar('A', 'depth_r', low=0.65),
        Bar('A', 'depth_std_ratio', 0.5, 2.2),
        Bar('A', 'thickness_relative', 0.6, 1.6),
        Bar('A', 'class_accuracy', low=0.85),
        Bar('A', 'fd_photo', high=6.8),
        Bar('A', 'slope', low=0.3, against='B', relation='difference'),
        Bar('A', 'pose_error', high=0.5, against='B', relation='ratio'),
    ),
    columns=_COLUMNS,
    curves=_CURVES,
)

E1X = Experiment(
    name='E1x',
    claim='The same recipe learns eight classes at once.',
    preset='demo',
    data=f'{_TOYWORLD}0',
    held_out=f'{_TOYWORLD}1',
    kimg=40.0,
    # P was run first. The colours of its classes drew together; the term was then tried on seed 0 up to 20 kimg, where it was ahead. The bars
    # are older than both. By 40 kimg P had caught up (docs/results.md).
    arms={
        'A': Arm(
            'classes and cameras known to the discriminator, which also has a say that looks at neither', ('discriminator.unconditional_term=true',)
        ),
        'P': Arm('the preset as it is: every say of the discriminator looks at class and camera'),
    },
    bars=(
        Bar('A', 'class_accuracy', low=0.92),
        Bar('A', 'class_kl', high=0.05),
        Bar('A', 'pose_error', high=16.0),
        Bar('A', 'sw_aligned', high=0.07),
        Bar('A', 'slope', low=0.55),
        Bar('A', 'depth_r', low=0.5),
        Bar('A', 'fd_photo', high=5.2),
        Bar('A', 'coverage', low=0.15),
    ),
    columns=(*_COLUMNS, 'class_kl'),
    curves=_CURVES,
)

E1P = Experiment(
    name='E1p',
    claim='Products in bfloat16 train as well as in float32.',
    preset='demo',
    data=f'{_CAR}0',
    held_out=f'{_CAR}1',
    kimg=16.0,
    arms={
        'F': Arm('the preset: float32'),
        'H': Arm('backbone and discriminator multiply in bfloat16', ('gan.precision_backbone=bf16', 'gan.precision_discriminator=bf16')),
    },
    bars=(
        Bar('H', 'fd_photo', high=1.15, against='F', relation='ratio'),
        Bar('H', 'slope', low=-0.1, against='F', relation='difference'),
        Bar('H', 'depth_r', low=-0.05, against='F', relation='difference'),
    ),
    columns=_COLUMNS,
    curves=_CURVES,
)

# Nothing can be set that names another kind of law, so an arm that knows the law takes the labels' (dealt out anew, and not shown to the
# discriminator), and the wrong one is a band as wide as a normal law of 18 degrees of yaw and 6 of pitch.
_NO_POSES = (
    'generator.pose=none', 'discriminator.pose=none', 'discriminator.conditions_on_pose=false', 'gan.pose_reading_weight=0', 'gan.pose_learner_weight=0',
    'gan.mirror_weight=0',
)
_NARROW = ('cameras.yaw_min_deg=-31.2', 'cameras.yaw_max_deg=31.2', 'cameras.pitch_min_deg=1.6', 'cameras.pitch_max_deg=22.4')

_NOT_ARRANGED = ('reading.arranged=0', 'gan.pose_condition_from_kimg=2')

E2 = Experiment(
    name='E2',
    claim='The law of cameras can be learned together with the shape, from pictures alone.',
    preset='demo-pof3d',
    data=f'{_CAR}0',
    held_out=f'{_CAR}1',
    kimg=16.0,
    arms={
        'A': Arm('PoF3D: the generator invents cameras, the discriminator reads them and judges under what it reads'),
        'B': Arm('the discriminator reads cameras and judges without them', ('discriminator.conditions_on_pose=false',)),
        'C': Arm('cameras of a wrong, narrow law, nothing about them is learned', (*_NO_POSES, *_NARROW)),
        'D': Arm(
            'cameras of the true law, without labels', (f'data.path={_CAR}0&cameras=shuffled', 'discriminator.conditions_on_camera=false'), preset='demo'
        ),
        'E': Arm('cameras known (arm A of E1, shorter)', preset='demo'),
        'U': Arm('the law is read off the pictures, which likeness arranges first', preset='demo-unposed'),
        'N': Arm('the law is read off the pictures, and they are not arranged', _NOT_ARRANGED, preset='demo-unposed'),
    },
    bars=(
        Bar('A', 'sw_aligned', high=0.12),
        Bar('A', 'spread_ratio', 0.6, 1.4),
        Bar('A', 'slope', low=0.5),
        Bar('A', 'pose_error', high=25.0),
        Bar('A', 'sw_aligned', high=0.0, against='B', relation='difference'),
        Bar('A', 'slope', low=0.0, against='B', relation='difference'),
        Bar('A', 'sw_aligned', high=0.0, against='C', relation='difference'),
        Bar('A', 'slope', low=0.0, against='C', relation='difference'),
        Bar('A', 'slope', low=-0.15, against='D', relation='difference'),
        Bar('U', 'sw_aligned', high=0.12),
        Bar('U', 'slope', low=0.5, every_seed=True),
        Bar('U', 'pose_error', high=25.0),
    ),
    columns=(
        'slope', 'pose_error', 'sw_aligned', 'law_aligned', 'spread_ratio', 'alignment', 'alignment_reversed', 'alignment_deaf', 'reader_error', 'depth_r',
        'thickness_relative', 'class_accuracy', 'fd_photo', 'coverage', 'oracles_azimuth',
    ),
    curves=('fd_photo', 'class_accuracy', 'slope', 'pose_error', 'sw_aligned', 'law_aligned', 'spread_ratio', 'alignment', 'reader_error'),
)

_SHARED = ('gan.shares_fakes=true',)
_AS_WELL = (('fd_photo', {'relation': 'ratio', 'high': 1.15}), ('slope', {'relation': 'difference', 'low': -0.1}), ('depth_r', {'relation': 'difference', 'low': -0.05}))

E2S = replace(
    E2,
    name='E2s',
    claim="The pictures of the generator's step serve the discriminator's as well as new ones do.",
    arms={
        'F': Arm('cameras known, the preset', preset='demo'),
        'FS': Arm('the same, pictures shared', _SHARED, preset='demo'),
        'U': E2.arms['U'],
        'US': Arm('the law is read, pictures shared', _SHARED, preset='demo-unposed'),
    },
    bars=tuple(Bar(arm, name, against=against, **limit) for arm, against in (('FS', 'F'), ('US', 'U')) for name, limit in _AS_WELL),
    compared=(('FS', 'F'), ('US', 'U')),
)

_NO_EXTRA_BLOCKS, _SHALLOW, _ONE_VIEW = 'generator.synthesis.extra_blocks=()', 'generator.radiance.hidden=24', 'gan.views=1'
_TWO_VIEWS, _TOGETHER = 'gan.views=2', 'gan.view_order=together'
_RELATIVISTIC = ('gan.loss=relativistic', 'gan.r2_gamma=0.3')
# As many weights more than the preset's (80,704) as extra blocks and a deep decoder give the generator (78,916).
_WIDE_DISCRIMINATOR = 'discriminator.channels=(4,72),(8,72),(16,56),(32,40)'

E3 = Experiment(
    name='E3',
    claim='Several judged views and a stronger generator give eight classes their shape from the whole sphere, without cameras.',
    preset='demo-imagenet',
    data=f'{_TOYWORLD}0',
    held_out=f'{_TOYWORLD}1',
    kimg=32.0,
    arms={
        'A': Arm('the preset: two views of a scene are judged, extra blocks, a deep decoder'),
        'B': Arm('one view', (_ONE_VIEW,)),
        'C': Arm('no extra blocks', (_NO_EXTRA_BLOCKS,)),
        'D': Arm('a shallow decoder', (_SHALLOW,)),
        'E': Arm('EG3D under the same cameras: one view, no extra blocks, a shallow decoder', (_ONE_VIEW, _NO_EXTRA_BLOCKS, _SHALLOW)),
        'U': Arm('the law is read off the pictures, class by class; EG3D otherwise', preset='demo-unposed'),
    },
    bars=(
        Bar('A', 'coverage', low=0.05, against='E', relation='difference'),
        Bar('A', 'fd_photo', high=1.0, against='E', relation='ratio'),
        Bar('A', 'slope', low=0.15, against='B', relation='difference'),
        Bar('A', 'duplicates', high=0.02, against='B', relation='difference'),
        Bar('A', 'diversity', low=0.9, against='B', relation='ratio'),
        Bar('A', 'thickness', low=0.15),
        Bar('A', 'alignment', low=0.4),
        Bar('A', 'class_accuracy', low=0.7),
        Bar('A', 'slope', low=-0.15, against='C', relation='difference'),
        Bar('A', 'slope', low=-0.15, against='D', relation='difference'),
        Bar('U', 'alignment', low=0.4),
        Bar('U', 'slope', low=0.15, against='B', relation='difference'),
        Bar('U', 'class_accuracy', low=0.7),
    ),
    columns=(
        'slope', 'alignment', 'alignment_reversed', 'alignment_deaf', 'spread_ratio', 'reader_error', 'thickness', 'depth_r', 'class_accuracy', 'class_kl', 'fd_photo',
        'coverage', 'duplicates', 'diversity', 'oracles_azimuth',
    ),
    curves=('fd_photo', 'class_accuracy', 'slope', 'alignment', 'alignment_reversed', 'sw_aligned', 'spread_ratio', 'coverage', 'duplicates'),
)

E3X = replace(
    E3,
    name='E3x',
    claim='Of the ways of judging views and pairs, none is shown to be better than the one that the presets take.',
    kimg=16.0,
    arms={
        'A': E3.arms['A'],
        'B': E3.arms['B'],
        'C': E3.arms['C'],
        'D': E3.arms['D'],
        'V4': Arm('four views', ('gan.views=4',)),
        'G': Arm('views of a scene are neighbours in the minibatch deviation', (_TOGETHER,)),
        'J': Arm('two views are judged with one answer', ('discriminator.views_together=2', _TOGETHER)),
        'L': Arm('a larger discriminator instead of a larger generator', (_NO_EXTRA_BLOCKS, _SHALLOW, _WIDE_DISCRIMINATOR)),
        'R': Arm('one view, relativistic pairs with R1 and R2', (_ONE_VIEW, *_RELATIVISTIC)),
        'RM': Arm('two views, relativistic pairs with R1 and R2', _RELATIVISTIC),
        'S': Arm("two views in the generator's step, one in the discriminator's", ('gan.views_discriminator=1',)),
    },
    bars=(),
    compared=tuple(('A', other) for other in ('B', 'C', 'D', 'V4', 'G', 'J', 'L', 'R', 'RM', 'S')),
)

E3U = replace(
    E3,
    name='E3u',
    claim='Where the cameras are read off the pictures, two judged views help the shape.',
    kimg=16.0,
    arms={
        'U': E3.arms['U'],
        'UV': Arm('U with two views', (_TWO_VIEWS,), preset='demo-unposed'),
        'UR': Arm('U with relativistic pairs, R1 and R2', _RELATIVISTIC, preset='demo-unposed'),
    },
    bars=(),
    compared=(('U', 'UV'), ('U', 'UR')),
)

EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in (E1, E1X, E1P, E2, E2S, E3, E3X, E3U)}
