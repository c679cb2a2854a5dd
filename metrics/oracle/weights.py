"""Where an oracle comes from: the file that is packaged, the cache, or a training that fills the cache."""

import sys
from pathlib import Path

from dnnlib.atomic import atomic_write
from dnnlib.errors import DataError, UnposedError
from metrics.collecting import cache_folder
from metrics.oracle.reading import Oracle
from metrics.oracle.recipe import PLAIN, OracleRecipe
from metrics.oracle.train import train_oracle

HERE = Path(__file__).parent


def load_oracle(recipe: OracleRecipe = PLAIN, quiet: bool = False) -> Oracle:
    """The oracle of a recipe: packaged with the project, else from the cache, else trained now (minutes; it says so) and kept in the cache.

    A file of another recipe, a damaged file and a cache that cannot be written cost time, never the result; each is one line on stderr.
    """
    oracle = find_oracle(recipe)
    if oracle is not None:
        return oracle
    if not quiet:
        print(f'training oracle {recipe.seed} ({recipe.style}) on {recipe.images} scenes, {recipe.epochs} times each ...', file=sys.stderr)
    content = train_oracle(recipe, quiet)
    _keep(cached_path(recipe), content)
    return Oracle(content, f'oracle {recipe.seed}')


def find_oracle(recipe: OracleRecipe = PLAIN) -> Oracle | None:
    """The oracle of a recipe if it is packaged or in the cache; None: it would have to be trained."""
    for path in (HERE / file_name(recipe), cached_path(recipe)):
        if path.is_file():
            oracle = _from_file(path, recipe)
            if oracle is not None:
                return oracle
    return None


def file_name(recipe: OracleRecipe) -> str:
    """Name of the file that is packaged for a recipe, or for others of that style and seed."""
    return f'oracle-{recipe.style}-{recipe.seed}.safetensors'


def cached_path(recipe: OracleRecipe) -> Path:
    """$UNPOSED_CACHE or ~/.cache/unposed, and in it oracle/<digest>.safetensors."""
    return cache_folder().with_name('oracle') / f'{recipe.digest()}.safetensors'


def _from_file(path: Path, recipe: OracleRecipe) -> Oracle | None:
    try:
        oracle = Oracle(path.read_bytes(), str(path))
    except (DataError, OSError) as error:
        print(f'warning: an oracle is passed over: {error}', file=sys.stderr)
        return None
    if oracle.header['digest'] != recipe.digest():
        print(f'warning: {path} is of another recipe, network or version of toyworld and is passed over', file=sys.stderr)
        return None
    return oracle


def _keep(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)
    except (OSError, UnposedError) as error:
        print(f'warning: the oracle was not kept for next time: {error}', file=sys.stderr)
