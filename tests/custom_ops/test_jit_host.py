"""Kernels for the CPU: built once by whoever asks first, found again, and never a hang, a half-written file or a crash instead of a reason."""

import errno
import fcntl
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
import torch

from custom_ops.jit import KernelUnavailable, compile_cubin, compiling, host, load_host, store
from custom_ops.jit.host import build_host

SOURCE = '#include "factor.h"\nextern "C" int scaled(int x) { return FACTOR * x; }\n'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache and temporary folders of this test, and no compiler named in the environment."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setenv('UNPOSED_CACHE', str(tmp_path / 'cache'))
    monkeypatch.delenv('CXX', raising=False)
    store._warn_once.cache_clear()
    store.private_folder.cache_clear()
    compiling._version.cache_clear()
    monkeypatch.setattr(store, '_hanging', {})
    return tmp_path / 'cache' / 'kernels'


@pytest.fixture
def source(tmp_path):
    """A kernel that multiplies by the number in its header."""
    folder = tmp_path / 'sources'
    folder.mkdir()
    (folder / 'factor.h').write_text('#define FACTOR 2\n')
    (folder / 'scaled.cpp').write_text(SOURCE)
    return folder / 'scaled.cpp'


def compiler(folder: Path, body: str) -> str:
    """A compiler that is a script; `body` is what it does when asked to compile, with real g++ as $REAL. Every run leaves a line in `runs`."""
    script = folder / 'fake-g++'
    script.write_text(
        '#!/bin/sh\n'
        f'REAL={shutil.which("g++")}\n'
        'if [ "$1" = --version ]; then echo fake 1.0; exit; fi\n'
        f'echo run >> {folder}/runs\n'
        f'{body}\n'
    )
    script.chmod(0o755)
    return str(script)


def runs(folder: Path) -> int:
    return len((folder / 'runs').read_text().splitlines())


def build(source: Path) -> store.Artefact:
    return build_host('scaled', [source], isa='baseline')


def left_behind(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix != '.lock')


def test_a_kernel_is_built_loaded_called_and_found_again(cache, source, caplog):
    with caplog.at_level(logging.INFO, logger='custom_ops'):
        library = load_host('scaled', [source])
    assert library.scaled(21) == 42
    assert load_host('scaled', [source]) is library
    assert [record.message.split(':')[1][:9] for record in caplog.records] == [' building', ' built in']
    artefact = build_host('scaled', [source], isa=host.isa_here())
    assert not artefact.built_now and artefact.seconds > 0 and 'g++' in artefact.compiler
    assert left_behind(cache) == [artefact.path.parent.name]
    assert sorted(path.name for path in artefact.path.parent.iterdir()) == ['manifest.json', 'scaled.so']


@pytest.mark.parametrize('ninja', [True, False])
def test_several_sources_with_and_without_ninja(cache, source, monkeypatch, ninja):
    if not ninja:
        monkeypatch.setattr(host, 'find_ninja', lambda: None)
    assert (host.find_ninja() is not None) == ninja
    other = source.parent / 'an $other one.cpp'
    other.write_text('extern "C" int negated(int x) { return -x; }\n')
    library = load_host('both', [source, other])
    assert library.scaled(3) == 6 and library.negated(3) == -3


def test_the_digest_follows_headers_flags_and_compiler_but_not_the_folder(cache, source, tmp_path, monkeypatch):
    (source.parent / 'factor.h').write_text('#pragma once\n#include "deep/value.h"\n#include "portable.h"\n')
    (source.parent / 'deep').mkdir()
    value = source.parent / 'deep' / 'value.h'
    value.write_text('#include "../factor.h"\n#define FACTOR 2\n')  # a circle, too
    first = build(source).path
    copy = shutil.copytree(source.parent, tmp_path / 'elsewhere') / source.name
    assert build(copy).path == first
    monkeypatch.setattr(host, 'FLAGS', (*host.FLAGS, '-g'))
    assert build(source).path != first
    value.write_text('#define FACTOR 3\n')
    second = build(source).path
    assert second != first
    monkeypatch.setenv('CXX', compiler(tmp_path, 'exec $REAL "$@"'))
    assert build(source).path not in (first, second)
    assert first.exists() and second.exists()


def test_the_instructions_are_those_that_torch_uses(monkeypatch):
    for capability, isa in (('AVX512', 'avx512'), ('AVX2', 'avx2'), ('DEFAULT', 'baseline'), ('SVE256', 'baseline')):
        monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda name=capability: name)
        assert host.isa_here() == isa


@pytest.mark.parametrize('damage', ['truncated', 'changed', 'manifest', 'no manifest', 'no file'])
def test_a_damaged_file_is_built_again(cache, source, damage):
    path = build(source).path
    manifest = path.with_name('manifest.json')
    content = path.read_bytes()
    if damage == 'truncated':
        path.write_bytes(content[:1000])
    elif damage == 'changed':
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == 'manifest':
        manifest.write_text(manifest.read_text()[:20])
    elif damage == 'no manifest':
        manifest.unlink()
    else:
        path.unlink()
    again = build(source)
    assert again.built_now and again.path == path and path.read_bytes() == content
    assert not build(source).built_now
    assert left_behind(cache) == [path.parent.name]


def at_once(count: int, task, *arguments) -> list:
    """What `task(*arguments)` returns, or the text of its KernelUnavailable, in each of `count` processes that begin together."""
    context = multiprocessing.get_context('fork')  # which does not import torch again
    barrier, answers = context.Barrier(count), context.SimpleQueue()

    def work():
        barrier.wait()
        answer = 'another error, which that process printed'
        try:
            answer = task(*arguments)
        except KernelUnavailable as error:
            answer = str(error)
        finally:
            answers.put(answer)

    processes = [context.Process(target=work) for _ in range(count)]
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def test_of_processes_that_ask_at_once_one_builds(cache, source, tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', compiler(tmp_path, 'sleep 0.3; exec $REAL "$@"'))
    artefacts = at_once(4, build, source)
    assert sum(artefact.built_now for artefact in artefacts) == 1 == runs(tmp_path)
    assert len({artefact.path for artefact in artefacts}) == 1
    assert left_behind(cache) == [artefacts[0].path.parent.name]


def test_of_processes_that_ask_at_once_one_fails(cache, source, tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', compiler(tmp_path, 'sleep 0.5; echo no licence; exit 3'))
    reasons = at_once(4, build, source)
    assert all('no licence' in reason and 'exit code 3' in reason for reason in reasons) and runs(tmp_path) == 1
    with pytest.raises(KernelUnavailable):  # a later question is answered anew
        build(source)
    assert runs(tmp_path) == 2 and left_behind(cache) == []


def test_a_process_that_dies_while_building_blocks_nobody(cache, source, tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', compiler(tmp_path, f'if [ -e {tmp_path}/begun ]; then exec $REAL "$@"; fi; echo $$ > {tmp_path}/begun; exec sleep 60'))
    process = multiprocessing.get_context('fork').Process(target=build, args=(source,))
    process.start()
    begun = tmp_path / 'begun'
    while not (begun.exists() and begun.read_text().strip()):
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    try:
        assert [name[:9] for name in left_behind(cache)] == ['building-']
        os.utime(cache / left_behind(cache)[0], (0, 0))
        started = time.monotonic()
        assert build(source).built_now and time.monotonic() - started < 30
        assert [name[:7] for name in left_behind(cache)] == ['scaled-'], 'what the dead left is swept up'
    finally:
        os.kill(int(begun.read_text()), signal.SIGKILL)  # the orphaned compiler


def test_a_note_of_an_earlier_failure_that_makes_no_sense_is_overlooked(cache, source):
    path = build(source).path
    for note in ('5', '{"time": 9e9}', '{"ti', '\0'):
        shutil.rmtree(path.parent)
        path.parent.with_suffix('.lock').write_text(note)
        assert build(source).built_now


def test_who_waits_too_long_builds_alone(cache, source, monkeypatch, caplog):
    path = build(source).path
    shutil.rmtree(path.parent)
    monkeypatch.setattr(store, 'WAIT_LIMIT_S', 0.1)
    with open(cache / f'{path.parent.name}.lock') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        artefact = build(source)
    assert artefact.built_now and artefact.path.is_relative_to(store.private_folder())
    assert not build(source).path.is_relative_to(store.private_folder())
    assert 'another process has been building' in caplog.text


def test_a_compiler_that_hangs_is_stopped_with_its_children(cache, source, tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', compiler(tmp_path, f'sleep 600 & echo $! >> {tmp_path}/children; wait'))
    monkeypatch.setattr(compiling, 'LIMIT_S', 0.5)
    for sources in ([source], [source, source.parent / 'factor.h']):
        store._hanging.clear()
        with pytest.raises(KernelUnavailable, match='did not finish within 0.5 s'):
            build_host('slow', sources, isa='baseline')
    for child in (tmp_path / 'children').read_text().split():
        deadline = time.monotonic() + 10
        while alive(int(child)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert left_behind(cache) == []


def alive(process: int) -> bool:
    try:
        return Path(f'/proc/{process}/stat').read_text().rsplit(')')[-1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_a_compiler_that_hangs_costs_its_limit_once(cache, source, tmp_path, monkeypatch):
    """However many kernels are wanted, by however many processes, and one reason is given for all of them."""
    monkeypatch.setenv('CXX', compiler(tmp_path, 'exec sleep 600'))
    monkeypatch.setattr(compiling, 'LIMIT_S', 1)

    def build_two(source):
        reasons = []
        for name in ('first', 'second'):
            with pytest.raises(KernelUnavailable) as caught:
                build_host(name, [source], isa='baseline')
            reasons.append(str(caught.value))
        return reasons

    reasons = {reason for pair in at_once(3, build_two, source) for reason in pair}
    assert reasons == {'kernel first (baseline): fake-g++ did not finish within 1 s and was stopped'} and runs(tmp_path) == 1


@pytest.mark.parametrize('body, reason', [('exec sleep 600', 'did not finish within 0.3 s'), ('echo no licence; exit 3', 'failed .exit code 3.:\nno licence')])
def test_a_compiler_that_does_not_tell_its_version_is_asked_once(cache, source, tmp_path, monkeypatch, body, reason):
    script = tmp_path / 'mute-g++'
    script.write_text(f'#!/bin/sh\necho run >> {tmp_path}/runs\n{body}\n')
    script.chmod(0o755)
    monkeypatch.setenv('CXX', str(script))
    monkeypatch.setattr(compiling, 'VERSION_LIMIT_S', 0.3)
    for name in ('first', 'second'):
        with pytest.raises(KernelUnavailable, match=f'^mute-g.. --version {reason}'):
            build_host(name, [source], isa='baseline')
    assert runs(tmp_path) == 1


def test_a_cache_that_cannot_be_written_is_replaced_by_a_private_one(cache, source, monkeypatch, caplog):
    monkeypatch.setenv('UNPOSED_CACHE', '/dev/null/cache')
    first, second = build(source), build(source)
    assert first.built_now and not second.built_now and first.path == second.path
    assert first.path.is_relative_to(store.private_folder())
    build_host('another', [source], isa='baseline')
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        'kernels are built for this process alone: /dev/null/cache/kernels cannot be written (Not a directory)'
    ]


def without_rights(task, *arguments):
    """What the task returns in a process that is not the superuser's."""

    def work():
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return task(*arguments)

    return at_once(1, work)[0]


@pytest.mark.parametrize('what', ['lock', 'folder'])
def test_what_another_user_left_is_replaced_by_a_private_one(cache, source, monkeypatch, what):
    """In a cache that all may write to, another user's lock that cannot be opened, or folder that can be neither read nor replaced."""
    with tempfile.TemporaryDirectory(dir='/tmp') as name:  # which others may enter, unlike those of pytest
        place, temporary = Path(name), Path(name) / 'tmp'
        monkeypatch.setenv('UNPOSED_CACHE', name)
        sources = shutil.copytree(source.parent, place / 'sources')
        path = build(sources / source.name).path
        temporary.mkdir()
        place.chmod(0o755)
        for folder in (temporary, store.cache_folder()):
            folder.chmod(0o1777)
        monkeypatch.setattr(tempfile, 'tempdir', str(temporary))
        if what == 'lock':
            shutil.rmtree(path.parent)
            path.parent.with_suffix('.lock').chmod(0o444)
        else:
            path.parent.with_suffix('.lock').chmod(0o666)
            path.parent.chmod(0)
        artefact = without_rights(build, sources / source.name)
        if what == 'folder':
            path.parent.chmod(0o755)
        assert isinstance(artefact, store.Artefact), artefact
        assert artefact.built_now and artefact.path.is_relative_to(temporary) and artefact.path.exists()


# Everything that is written to the cache: whose attribute it is, and its name.
WRITING = {'folder': (tempfile, 'mkdtemp'), 'lock': (store, 'open'), 'manifest': (Path, 'write_text'), 'move': (Path, 'rename')}


@pytest.mark.parametrize('step', WRITING)
@pytest.mark.parametrize('number', [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_every_step_of_writing_may_fail(cache, source, monkeypatch, caplog, step, number):
    place, name = WRITING[step]
    real = getattr(place, name, open)
    private = store.private_folder()

    def write(*arguments, **options):
        if Path(options.get('dir') or arguments[0]).is_relative_to(private):
            return real(*arguments, **options)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(place, name, write, raising=False)
    if number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(KernelUnavailable, match=f'^kernel scaled .baseline. could not be written.*{os.strerror(number)}.*set UNPOSED_CACHE'):
            build(source)
        assert list(private.iterdir()) == [] and caplog.text == ''
    else:
        artefact = build(source)
        assert artefact.built_now and artefact.path.is_relative_to(private)
        [record] = caplog.records
        assert record.message == f'kernels are built for this process alone: {cache} cannot be written ({os.strerror(number)})'
    assert left_behind(cache) == []


def test_a_cache_that_cannot_be_written_can_be_read(cache, source, monkeypatch):
    path = build(source).path

    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, 'Read-only file system')

    monkeypatch.setattr(tempfile, 'mkdtemp', refuse)
    assert build(source).path == path


def test_a_full_disk_is_a_reason_and_leaves_nothing(cache, source, tmp_path, monkeypatch):
    """A limit on the size of files stops the compiler, and what this process writes, in the middle of a file, as a full disk does."""

    def with_small_files(build, *arguments, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        return build(*arguments, **options)

    [reason] = at_once(1, lambda: with_small_files(load_host, 'scaled', [source]))
    assert reason.startswith('kernel scaled') and 'g++ failed' in reason
    device_source = tmp_path / 'empty.cu'
    device_source.write_text('extern "C" __global__ void empty() {}\n')
    [reason] = at_once(1, lambda: with_small_files(compile_cubin, 'empty', device_source, arch='sm_90', compiler='nvrtc'))
    assert reason.startswith('kernel empty') and 'File too large' in reason
    assert left_behind(cache) == []


def test_a_compile_error_shows_the_last_lines(cache, source):
    source.write_text('int a;\n' * 3 + ''.join(f'wrong{index} x;\n' for index in range(40)))
    with pytest.raises(KernelUnavailable) as caught:
        build(source)
    lines = str(caught.value).splitlines()
    assert lines[0] == 'kernel scaled (baseline): g++ failed (exit code 1):'
    assert len(lines) == 1 + compiling.LAST_LINES and any("'wrong39' does not name a type" in line for line in lines)
    assert left_behind(cache) == []


BROKEN = {
    'crashes': ('kill -SEGV $$', 'failed (signal SIGSEGV) and said nothing'),
    'is ended by a signal without a name': ('kill -40 $$', 'failed (signal 40) and said nothing'),
    'prints garbage': ('printf "one\\0two\\033[2J\\377"; head -c 30000 /dev/urandom; head -c 3000 /dev/zero; exit 9', 'failed (exit code 9):'),
    'writes nothing': ('exit 0', 'fake 1.0 reported success and wrote no scaled.so'),
}


@pytest.mark.parametrize('how', BROKEN)
def test_a_compiler_that_breaks_is_a_reason_in_one_line(cache, source, tmp_path, monkeypatch, how):
    body, reason = BROKEN[how]
    monkeypatch.setenv('CXX', compiler(tmp_path, body))
    with pytest.raises(KernelUnavailable) as caught:
        build(source)
    first, *said = str(caught.value).split('\n')
    assert first.startswith('kernel scaled (baseline): ') and first.endswith(reason)
    assert len(said) <= compiling.LAST_LINES and all(line.isprintable() and len(line) <= compiling.LONGEST_LINE for line in said)
    assert bool(said) == (how == 'prints garbage') and left_behind(cache) == []


def test_ninja_tells_what_the_compiler_said(cache, source):
    (source.parent / 'other.cpp').write_text('wrong x;\n')
    with pytest.raises(KernelUnavailable, match=r"^kernel both \(baseline\): ninja failed \(exit code 1\):\n(.*\n)*.*'wrong' does not name a type"):
        build_host('both', [source, source.parent / 'other.cpp'], isa='baseline')


def test_a_file_that_cannot_be_loaded_is_a_reason(cache, source):
    source.write_text('int absent(); extern "C" int scaled(int x) { return absent(); }\n')
    with pytest.raises(KernelUnavailable, match='was built but cannot be loaded.*absent'):
        load_host('scaled', [source])


def test_a_compiler_that_was_named_must_exist(cache, source, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler -m64')
    with pytest.raises(KernelUnavailable, match="no C.. compiler 'no-such-compiler' .from .CXX"):
        build(source)
    monkeypatch.setenv('CXX', '/dev/null')
    with pytest.raises(KernelUnavailable):
        build(source)
    monkeypatch.setenv('CXX', "'g++")
    with pytest.raises(KernelUnavailable, match=r"^\$CXX is not a command \(No closing quotation\): 'g..; repair or unset it$"):
        build(source)


def test_only_look(cache, source):
    with store.only_look(), pytest.raises(KernelUnavailable, match='is not built yet'):
        build(source)
    build(source)
    with store.only_look(), store.witnessed() as used:
        build(source)
        load_host('scaled', [source], isa='baseline')
        load_host('scaled', [source], isa='baseline')
    assert [artefact.name for artefact in used] == ['scaled'] * 3


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('UNPOSED_CACHE', raising=False)
    assert store.cache_folder() == tmp_path / '.cache' / 'unposed' / 'kernels'
    monkeypatch.setenv('UNPOSED_CACHE', '~/fast')
    assert store.cache_folder() == tmp_path / 'fast' / 'kernels'
    monkeypatch.setenv('UNPOSED_CACHE', '~nobody-of-this-name/fast')
    assert store.cache_folder() == store.private_folder()


def test_the_manifest_says_how_it_was_built(cache, source):
    artefact = build(source)
    manifest = json.loads(artefact.path.with_name('manifest.json').read_text())
    assert manifest['bytes'] == artefact.path.stat().st_size
    assert (manifest['name'], manifest['target'], manifest['compiler']) == ('scaled', 'baseline', artefact.compiler)
    assert 0 < manifest['seconds'] < 300
