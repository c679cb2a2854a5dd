"""Time and memory of training iterations: python -m benchmarks.training_step --cfg demo --threads 1."""

import os
import platform
import statistics
import time
from pathlib import Path

import click
import torch

from benchmarks.cases.steps import period_of
from dnnlib import config as configs
from dnnlib.errors import run_command
from dnnlib.units import format_bytes
from torch_utils.distributed import init_from_env
from torch_utils.memory import keep_freed_memory
from torch_utils.statistics import peak_memory_bytes
from training.build import build, trainer_of
from training.loop import Trainer
from training.presets import find_preset


@click.command(context_settings={'show_default': True})
@click.option('--cfg', 'preset', default='demo', help='Preset, as for train.py.')
@click.option('--data', help='Data set; by default the one of the preset.')
@click.option('--set', 'settings', multiple=True, metavar='NAME=VALUE', help='Settings, as for train.py.')
@click.option('--threads', type=click.IntRange(min=1), default=1, help='Processor threads.')
@click.option('--rounds', type=click.IntRange(min=1), default=10, help='Timed rounds; each runs every lazy regulariser equally often.')
@click.option('--device', help='cpu, cuda or mps; the fastest there is by default.')
@click.option('--keep-memory/--return-memory', default=True, help='Whether the allocator keeps freed memory (torch_utils/memory.py).')
def main(preset: str, data: str | None, settings: tuple[str, ...], threads: int, rounds: int, device: str | None, keep_memory: bool) -> None:
    """Median over rounds of wall and processor time per image, and peak memory. Logging, pictures and metrics are not in it."""
    if keep_memory:
        keep_freed_memory()
    torch.set_num_threads(threads)
    world = init_from_env(device)
    config = configs.override(find_preset(preset), [*([f'data.path={data}'] if data else []), *settings])
    built = build(config)
    trainer = trainer_of(built, world, Path(os.devnull))  # it saves nothing
    period = period_of(built.config.gan)
    run_round(trainer, period)  # the first one loads images and fills caches
    rounds_measured = [run_round(trainer, period) for _ in range(rounds)]
    wall, cpu = (statistics.median(column) for column in zip(*rounds_measured, strict=True))
    print(f'{preset} on {world.device}, {threads} threads, torch {torch.__version__}, {platform.processor() or platform.machine()}')
    print(f'  wall  {wall:7.2f} ms/image   {3600 / wall:7.1f} kimg/hour   {wall:7.2f} s/kimg')
    print(f'  cpu   {cpu:7.2f} ms/image   {3600 / cpu:7.1f} kimg/core-hour')
    print(f'  peak memory {format_bytes(peak_memory_bytes())}, median of {rounds} rounds of {period} iterations of {config.loop.batch} images')


def run_round(trainer: Trainer, iterations: int) -> tuple[float, float]:
    """(wall, processor) milliseconds per image of so many iterations."""
    on_gpu = trainer.world.device.type == 'cuda'
    if on_gpu:
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(iterations):
        trainer.iterate()
    if on_gpu:
        torch.cuda.synchronize()
    images = iterations * trainer.config.batch
    return (time.perf_counter() - wall) * 1000 / images, (time.process_time() - cpu) * 1000 / images


if __name__ == '__main__':
    run_command(main)
