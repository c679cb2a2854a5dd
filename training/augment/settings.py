"""How often and how strongly images are augmented, and the named sets that the literature uses."""

import math
from dataclasses import dataclass, fields, replace

from dnnlib.errors import UsageError


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Strengths and sizes of the transforms of ADA (Karras et al. 2020, arXiv 2006.06676, appendix B).

    A strength multiplies the probability p at which its transform happens: 0 switches the transform off, 1 is the paper's. Names are the
    published ones. Sizes are standard deviations or ranges, at the paper's values. Lengths are fractions of the image side.
    """

    # pixel blitting: exact, no interpolation
    xflip: float = 0.0
    rotate90: float = 0.0
    xint: float = 0.0
    xint_max: float = 0.125  # integer translation, uniform within +- this
    # general geometry
    scale: float = 0.0
    rotate: float = 0.0
    aniso: float = 0.0
    xfrac: float = 0.0
    scale_std: float = 0.2  # octaves
    rotate_max: float = 1.0  # half turns, uniform within +- this
    aniso_std: float = 0.2  # octaves, applied inversely to the two axes
    xfrac_std: float = 0.125
    # colour
    brightness: float = 0.0
    contrast: float = 0.0
    lumaflip: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0
    brightness_std: float = 0.2  # of images in [-1, 1]
    contrast_std: float = 0.5  # octaves
    hue_max: float = 1.0  # half turns
    saturation_std: float = 1.0  # octaves
    # band-wise filtering
    imgfilter: float = 0.0
    imgfilter_bands: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)  # probability multiplier per band, lowest frequencies first
    imgfilter_std: float = 1.0  # octaves
    # corruption
    noise: float = 0.0
    cutout: float = 0.0
    noise_std: float = 0.1  # of images in [-1, 1]
    cutout_size: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            values = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(v) and v >= 0 for v in values):
                raise UsageError(f'augment.{field.name} must be a finite number of at least 0; found {value}.')


_OFF = AugmentConfig()
_BLIT = replace(_OFF, xflip=1.0, rotate90=1.0, xint=1.0)
_GEOM = replace(_OFF, scale=1.0, rotate=1.0, aniso=1.0, xfrac=1.0)
_COLOR = replace(_OFF, brightness=1.0, contrast=1.0, lumaflip=1.0, hue=1.0, saturation=1.0)
_BG = replace(_GEOM, xflip=1.0, rotate90=1.0, xint=1.0)
_BGC = replace(_BG, brightness=1.0, contrast=1.0, lumaflip=1.0, hue=1.0, saturation=1.0)
_BGCF = replace(_BGC, imgfilter=1.0)
_BGCFN = replace(_BGCF, noise=1.0)

AUGMENT_PRESETS: dict[str, AugmentConfig] = {
    'off': _OFF,
    'blit': _BLIT,
    'geom': _GEOM,
    'color': _COLOR,
    'filter': replace(_OFF, imgfilter=1.0),
    'noise': replace(_OFF, noise=1.0),
    'cutout': replace(_OFF, cutout=1.0),
    'bg': _BG,
    'bgc': _BGC,
    'bgcf': _BGCF,
    'bgcfn': _BGCFN,
    'bgcfnc': replace(_BGCFN, cutout=1.0),
    'eg3d': _BGC,
    # Nothing moves, so a known camera stays true.
    'c': _COLOR,
    # A discriminator that reads the camera off the image must not see images turned or mirrored (PoF3D, arXiv 2301.07702, released
    # settings).
    'pof3d': replace(_BGC, xflip=0.0, rotate90=0.0, rotate=0.0),
}
