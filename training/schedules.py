"""Everything that changes during training, as pure functions of the number of images seen: a resumed run needs no saved schedule."""


def ramp(nimg: int, fade_kimg: float) -> float:
    """0 at the start, 1 after `fade_kimg` thousand images; 1 at once if there is no fade."""
    return 1.0 if fade_kimg <= 0 else min(nimg / (fade_kimg * 1000), 1.0)


def hold_then_ramp(nimg: int, hold_kimg: float, fade_kimg: float) -> float:
    """0 for `hold_kimg` thousand images, then to 1 over `fade_kimg`."""
    return 0.0 if nimg < hold_kimg * 1000 else ramp(nimg - round(hold_kimg * 1000), fade_kimg)


def linear(nimg: int, start: float, end: float, fade_kimg: float) -> float:
    """From `start` to `end` over `fade_kimg` thousand images."""
    return start + (end - start) * ramp(nimg, fade_kimg)


def render_resolution(nimg: int, start: int, end: int, fade_kimg: float) -> int:
    """Neural rendering resolution in pixels (EG3D's second stage raises it while training)."""
    return round(linear(nimg, start, end, fade_kimg))


def camera_swap_probability(nimg: int, final: float, fade_kimg: float) -> float:
    """How often the generator is conditioned on another sample's camera: 1 at first, then `final` (EG3D, generator pose conditioning)."""
    return linear(nimg, 1.0, final, fade_kimg)


def blur_sigma_px(nimg: int, start: float, fade_kimg: float) -> float:
    """Blur of what the discriminator sees, in pixels: EG3D fades it out so that learning begins with coarse shape. 0 without a fade."""
    return linear(nimg, start, 0.0, fade_kimg) if fade_kimg > 0 else 0.0


def ema_half_life_img(nimg: int, half_life_kimg: float, ramp_up: float) -> float:
    """Half-life of the weight average in images: short at first (a fraction of what has been seen), so that early noise is forgotten."""
    return min(half_life_kimg * 1000, nimg * ramp_up) if ramp_up > 0 else half_life_kimg * 1000
