"""python -m metrics.audit: the full audit of the instruments, as a table, with exit code 1 when a control is missed or a real split is flagged."""

import sys
from pathlib import Path

import click

from dnnlib.atomic import atomic_write
from dnnlib.errors import run_command
from metrics.audit.audit import QUICK, AuditConfig, judge, run_audit
from metrics.audit.table import as_markdown


@click.command(context_settings={'show_default': True})
@click.option('--quick', is_flag=True, help='The small form that the tests run.')
@click.option('--style', default='plain', help="Toyworld's style of drawing; an oracle of that style is trained when there is none.")
@click.option('--oracle-seed', default=0, help='Which oracle reads the pictures.')
@click.option('--out', type=click.Path(path_type=Path), help='Write the table there, too.')
@click.option('--debug', is_flag=True, expose_value=False, help='Show the traceback of an error.')
def main(quick: bool, style: str, oracle_seed: int, out: Path | None) -> None:
    """Shows generators of known defect to the suite, and says which statistics see them."""
    size = QUICK if quick else AuditConfig()
    config = AuditConfig(style, oracle_seed, size.images, size.shapes, size.pairs, size.splits)
    audit = judge(run_audit(config, quiet=not sys.stderr.isatty()))
    text = as_markdown(audit, config)
    print(text)
    if out is not None:
        with atomic_write(out, 'w') as file:
            file.write(text + '\n')
    if not audit.green:
        sys.exit(1)


if __name__ == '__main__':
    run_command(main)
