"""A synthetic set seen as a source of files, so that it can be written to a zip like any other."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from training.data.labels import FILE, Labels, labels_to_json
from training.data.source import Source
from training.data.synthetic import SyntheticImages


class SyntheticSource(Source):
    """The pictures of 'synthetic:...' as PNG files, and their dataset.json."""

    def __init__(self, spec: str) -> None:
        super().__init__(Path(spec))
        self._images = SyntheticImages.from_spec(spec)
        self.names = [f'img{i:08d}.png' for i in range(len(self._images))]
        self.json_names = [FILE]

    def read(self, name: str) -> bytes:
        if name == FILE:
            return self._labels()
        buffer = io.BytesIO()
        Image.fromarray(self._images[int(name[3:11])].image.transpose(1, 2, 0)).save(buffer, format='png', compress_level=0)
        return buffer.getvalue()

    def _labels(self) -> bytes:
        labels = {name: self._images.label(i) for i, name in enumerate(self.names)}
        return labels_to_json(Labels(labels, self._images.class_names or None))

    def fingerprint(self) -> str:
        return self._images.fingerprint()
