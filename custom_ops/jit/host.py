"""Kernels for the CPU: C++ with a plain C interface, built by the machine's compiler at first use and loaded with ctypes."""

import ctypes
import importlib.util
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from custom_ops.jit import compiling, store
from custom_ops.jit.unavailable import KernelUnavailable

Isa = Literal['avx512', 'avx2', 'baseline']

ISA_FLAGS: dict[Isa, tuple[str, ...]] = {'avx512': ('-march=x86-64-v4',), 'avx2': ('-march=x86-64-v3',), 'baseline': ()}

# Contraction and the two promises about the C library's error number and traps leave every result of IEEE arithmetic well defined;
# -ffast-math would not.
FLAGS = (
    '-std=c++17', '-O3', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math', '-Wno-psabi', '-fPIC', '-pthread',
)  # fmt: skip

_loaded: dict[tuple[str, tuple[Path, ...], Isa], tuple[ctypes.CDLL, store.Artefact]] = {}


def load_host(name: str, sources: Sequence[Path], *, isa: Isa | None = None) -> ctypes.CDLL:
    """The shared library made of C++ `sources`, built at first use; later calls return the same object.

    name  of the file and in messages
    isa   instructions that may be used; None: those of this machine, see `isa_here`

    Sources may include "x.h" from custom_ops/include and from their own folder. Raises KernelUnavailable.
    """
    isa = isa or isa_here()
    key = (name, tuple(sources), isa)
    if key not in _loaded:
        artefact = build_host(name, sources, isa=isa)
        try:
            _loaded[key] = ctypes.CDLL(str(artefact.path)), artefact
        except OSError as error:
            raise KernelUnavailable(
                f'kernel {name} ({isa}) was built but cannot be loaded: {error}; if programs may not run from there, set UNPOSED_CACHE'
            ) from error
    else:
        store.witness(_loaded[key][1])
    return _loaded[key][0]


def isa_here() -> Isa:
    """What this machine's processor can do according to torch, so that ATEN_CPU_CAPABILITY=avx2 or =default lowers both alike."""
    found: dict[str, Isa] = {'AVX512': 'avx512', 'AVX2': 'avx2'}
    return found.get(torch.backends.cpu.get_cpu_capability(), 'baseline')


def build_host(name: str, sources: Sequence[Path], *, isa: Isa) -> store.Artefact:
    """As load_host, without loading and without memory. Raises KernelUnavailable."""
    sources = [Path(source).resolve() for source in sources]
    compiler = find_compiler()
    version = compiling.version(compiler)
    folders = [compiling.INCLUDE, *dict.fromkeys(source.parent for source in sources)]
    flags = (*FLAGS, *ISA_FLAGS[isa])
    command = [*compiler, *flags, *(word for folder in folders for word in ('-I', str(folder)))]
    return store.obtain(
        store.Recipe(
            name=name,
            suffix='.so',
            target=isa,
            compiler=version,
            digest=compiling.digest(sources, folders, (name, *compiler, version, *flags)),
            build=lambda folder: _compile(command, sources, folder, f'{name}.so'),
        )
    )


def find_compiler() -> tuple[str, ...]:
    """The command of the C++ compiler: $CXX if set (it may hold several words, as in 'ccache g++'), else the first of g++, c++ and clang++
    on the PATH. Raises KernelUnavailable.
    """
    try:
        asked = shlex.split(os.environ.get('CXX', ''))
    except ValueError as error:
        raise KernelUnavailable(f'$CXX is not a command ({error}): {os.environ["CXX"]}; repair or unset it') from error
    if asked:
        if shutil.which(asked[0]) is None:
            raise KernelUnavailable(f'there is no C++ compiler {asked[0]!r} (from $CXX); install it or unset CXX')
        return tuple(asked)
    for program in ('g++', 'c++', 'clang++'):
        if shutil.which(program):
            return (program,)
    raise KernelUnavailable('there is no C++ compiler here; install g++ (package g++ or gcc-c++), or name another in $CXX')


def _compile(command: Sequence[str], sources: Sequence[Path], folder: Path, output: str) -> str:
    """Compiles `sources` and links them as `output` in `folder`; several of them side by side if ninja is at hand."""
    if len(sources) == 1:
        return compiling.run([*command, '-shared', sources[0], '-o', output], folder)
    objects = [f'{index}.o' for index in range(len(sources))]
    steps = {target: [*command, '-c', str(source), '-o', target] for target, source in zip(objects, sources, strict=True)}
    link = [*command, '-shared', *objects, '-o', output]
    ninja = find_ninja()
    if ninja is None:
        said = [compiling.run(step, folder) for step in (*steps.values(), link)]
    else:
        # Every build starts from nothing, so ninja need not know what depends on what, only what must come first.
        edges = [f'build {target}: run\n  command_line = {_for_ninja(step)}\n' for target, step in steps.items()]
        edges.append(f'build {output}: run {" ".join(objects)}\n  command_line = {_for_ninja(link)}\n')
        (folder / 'build.ninja').write_text('rule run\n  command = $command_line\n' + ''.join(edges))
        said = [compiling.run([ninja, '--quiet'], folder)]
    for path in folder.iterdir():
        if path.name != output:
            path.unlink()
    return ''.join(said)


def _for_ninja(command: Sequence[str]) -> str:
    return shlex.join(command).replace('$', '$$')


def find_ninja() -> str | None:
    """The ninja of the Python package, else the one on the PATH, else None."""
    if importlib.util.find_spec('ninja') is not None:
        import ninja

        return shutil.which('ninja', path=ninja.BIN_DIR)
    return shutil.which('ninja')
