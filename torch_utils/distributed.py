"""Processes that train together: one rank per device, started by torchrun, gloo between CPUs and NCCL between GPUs.

A rank ends in one of three ways, and none of them leaves another rank behind: `finish()` when all is done; an error, which ends the process
with its exit code and makes torchrun end the others; the death of the process that started it, upon which the kernel kills it.
"""

import contextlib
import ctypes
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dnnlib.errors import EXIT_CODE_FILE, TemporaryError, UsageError, note_exit_code
from torch_utils.interrupt import INSISTS_AFTER_S, heeded
from torch_utils.precision import use_all_digits

_STEP_TIMEOUT_S = 120
_WAIT_TIMEOUT_S = 24 * 3600  # metrics of 50,000 images take hours on one device; a rank that dies is noticed at once all the same
_PR_SET_PDEATHSIG = 1
_DEVICES = ('cpu', 'cuda', 'mps')


# torchrun, without its own tracebacks: a rank has said what went wrong, and a signal is not a fault. A rank that died wordlessly is named.
_AGENT = """
import logging, os, sys
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main
logging.disable(logging.CRITICAL)
try:
    main(sys.argv[1:])
except SignalException as stopped:
    code = 128 + stopped.sigval
except ChildFailedError as failed:
    for rank, failure in failed.failures.items():
        if failure.exitcode < 0:
            print(f'error: rank {rank} was killed by signal {-failure.exitcode}.', file=sys.stderr)
    code = 1
else:
    code = 0
sys.stderr.flush()
os._exit(code)  # like the ranks, it must not be aborted by its own threads while it finalises
"""


@dataclass(frozen=True, slots=True)
class World:
    """The ranks of a run and this process's place among them. With size 1 every method works and communicates nothing."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device('cpu'))
    # Messages between hosts that need no device: quick ones that are part of a step, and waiting for somebody who saves or measures.
    _step_group: Any = field(default=None, repr=False)
    _wait_group: Any = field(default=None, repr=False)

    @property
    def is_main(self) -> bool:
        """Whether this rank is the one that writes files and speaks."""
        return self.rank == 0

    @torch.no_grad()
    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its mean over the ranks, in one message per dtype."""
        if self.size == 1:
            return
        for same in _by_dtype(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            with _together():
                dist.all_reduce(flat)
            _unflatten_(same, flat.div_(self.size))

    @torch.no_grad()
    def broadcast_module_(self, module: nn.Module) -> None:
        """Give every rank the parameters and buffers of rank 0."""
        if self.size == 1:
            return
        for same in _by_dtype([*module.parameters(), *module.buffers()]):
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            with _together():
                dist.broadcast(flat, src=0)
            _unflatten_(same, flat)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank, so that all of them act alike. Does not wait for the device."""
        if self.size == 1:
            return bool(flag)
        flags = torch.tensor([int(flag)])
        with _together():
            dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._step_group)
        return bool(flags.item())

    def all_gather_object(self, value: Any) -> list[Any]:
        """Return what every rank gave, in the order of the ranks. For small things of plain types; may wait a day for the slowest."""
        if self.size == 1:
            return [value]
        gathered: list[Any] = [None] * self.size
        with _together():
            dist.all_gather_object(gathered, value, group=self._wait_group)
        return gathered

    def barrier(self) -> None:
        """Wait, up to a day, until every rank is here: after one of them did something alone that takes longer than a step."""
        if self.size > 1:
            with _together():
                dist.barrier(group=self._wait_group)


def init_from_env(device: str | None = None) -> World:
    """Join the processes that torchrun started, or be alone if it did not; return the world.

    `device` 'cpu', 'cuda' or 'mps' overrides the choice, which is this rank's own GPU where there are any. Raises UsageError if it is missing.
    """
    rank, size = int(os.environ.get('RANK', '0')), int(os.environ.get('WORLD_SIZE', '1'))
    own = _own_device(device, int(os.environ.get('LOCAL_RANK', '0')))
    if own.type == 'cuda':
        torch.cuda.set_device(own)
        use_all_digits()
    if not is_launched():
        return World(rank=0, size=1, device=own)
    _die_with_parent()
    if own.type == 'cpu':
        torch.set_num_threads(1)  # ranks share the cores; more threads than cores make all of them slower
    if size == 1:
        return World(rank=0, size=1, device=own)
    step, wait = datetime.timedelta(seconds=_STEP_TIMEOUT_S), datetime.timedelta(seconds=_WAIT_TIMEOUT_S)
    on_cuda = own.type == 'cuda'
    dist.init_process_group('nccl' if on_cuda else 'gloo', timeout=step, device_id=own if on_cuda else None)
    step_group = dist.new_group(backend='gloo', timeout=step)
    wait_group = dist.new_group(backend='gloo', timeout=wait)
    return World(rank, size, own, step_group, wait_group)


def is_launched() -> bool:
    """Return whether this process is a rank that torchrun started."""
    return 'RANK' in os.environ and 'WORLD_SIZE' in os.environ


def launched_size() -> int | None:
    """How many ranks torchrun started, this one among them; None where it did not."""
    return int(os.environ['WORLD_SIZE']) if is_launched() else None


def local_size() -> int:
    """How many ranks share this machine's memory, this one among them."""
    return int(os.environ.get('LOCAL_WORLD_SIZE', '1')) if is_launched() else 1


def finish(exit_code: int = 0) -> None:
    """Leave the world together: every rank calls it last, with the same code. A rank of several ends here; one alone returns for code 0.

    Gloo's threads sometimes abort the interpreter while it finalises, after all work is done, and the other ranks then wait for this one; a
    rank therefore flushes what it has written and ends without finalising.
    """
    if not dist.is_initialized():
        if exit_code != 0:
            sys.exit(exit_code)
        return
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    if exit_code != 0 and EXIT_CODE_FILE in os.environ:
        note_exit_code(os.environ[EXIT_CODE_FILE], exit_code)
    os._exit(exit_code)


def launch(argv: Sequence[str], nproc: int) -> NoReturn:
    """Run `python argv...` again as `nproc` ranks on this node under torchrun; end with the exit code of the first rank that failed.

    `argv` is [script, argument, ...] as in sys.argv. Signals are passed on; a second one, later, ends everything at once. Raises UsageError for
    more ranks than GPUs.
    """
    if nproc < 1:
        raise UsageError(f'{nproc} processes were asked for. Ask for at least 1.')
    if torch.cuda.is_available() and nproc > torch.cuda.device_count():
        raise UsageError(f'{nproc} GPUs were asked for, and this machine has {torch.cuda.device_count()}. Ask for at most that many.')
    command = [sys.executable, '-c', _AGENT, '--standalone', '--nproc-per-node', str(nproc), *argv]
    with tempfile.TemporaryDirectory(prefix='unposed-launch-') as folder:
        exit_code_file = Path(folder) / 'exit_code'
        environment = os.environ | {
            EXIT_CODE_FILE: str(exit_code_file),
            'TORCHELASTIC_SIGNALS_TO_HANDLE': 'SIGTERM,SIGINT,SIGHUP,SIGUSR1',
            'TORCH_ELASTIC_SHUTDOWN_TIMEOUT': str(_WAIT_TIMEOUT_S),  # it would kill ranks that need more than 30 s to end their step and save
        }
        environment.setdefault('OMP_NUM_THREADS', '1')
        # In a session of its own, torchrun gets a Ctrl-C from us and not a second one from the terminal.
        prepare = _parent_death_signal()  # one system call, which is safe between fork and exec
        with subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=prepare) as agent:  # noqa: PLW1509
            returned = _wait_passing_signals_on(agent)
        code = int(exit_code_file.read_text(encoding='ascii')) if exit_code_file.exists() else returned
    sys.stdout.flush()
    sys.exit(code)


def _wait_passing_signals_on(agent: subprocess.Popen) -> int:
    """Wait for torchrun; return its exit code, or 130 or 143 if it was stopped by a signal that was passed on."""
    passed_on: list[int] = []
    asked_at = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked_at
        if not passed_on:
            agent.send_signal(number)
            passed_on.append(number)
            asked_at = time.monotonic()
        elif time.monotonic() - asked_at >= INSISTS_AFTER_S:
            agent.kill()  # ranks die with torchrun (see _die_with_parent), so this is enough to stop everything

    before = {number: signal.signal(number, handle) for number in heeded()}
    try:
        returned = agent.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if passed_on and returned != 0:
        return 130 if passed_on[0] == signal.SIGINT else 143
    return returned if returned >= 0 else 128 - returned


def _own_device(device: str | None, local_rank: int) -> torch.device:
    """Return the device of this rank."""
    if device is None:
        if torch.cuda.is_available():
            device = 'cuda'
        else:
            device = 'mps' if torch.backends.mps.is_available() and not is_launched() else 'cpu'
    if device not in _DEVICES:
        raise UsageError(f"There is no device '{device}'; there are {', '.join(_DEVICES)}. CUDA_VISIBLE_DEVICES says which GPUs are used.")
    if device == 'mps' and not torch.backends.mps.is_available():
        raise UsageError('This machine or this PyTorch has no mps. Leave --device out to take what there is.')
    if device != 'cuda':
        return torch.device(device)
    if not torch.cuda.is_available():
        raise UsageError('This machine or this PyTorch has no GPU that CUDA can use. Leave --device out to take what there is.')
    if local_rank >= torch.cuda.device_count():
        raise UsageError(f'GPU number {local_rank} was asked for, and this machine has {torch.cuda.device_count()}. Start fewer processes.')
    return torch.device('cuda', local_rank)


def _parent_death_signal() -> Callable[[], None] | None:
    """Return a function that makes the kernel kill the calling process when its parent dies; None where there is no such thing."""
    if sys.platform != 'linux':
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _die_with_parent() -> None:
    request = _parent_death_signal()
    if request is not None:
        request()


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """What a collective raises when another rank is gone, as one sentence: the cause is what that rank said."""
    try:
        yield
    except RuntimeError as error:
        raise TemporaryError('another process of this run has stopped or does not answer, so this one cannot go on either.') from error


def _by_dtype(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Group tensors that can share a message, keeping their order."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())


def _unflatten_(tensors: list[Tensor], flat: Tensor) -> None:
    """Copy consecutive pieces of `flat` into the tensors."""
    pieces = flat.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [piece.view_as(tensor) for piece, tensor in zip(pieces, tensors, strict=True)])
