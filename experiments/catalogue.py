"""The experiments by name, with the bars of their claims."""

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

EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in (E1, E1X)}
