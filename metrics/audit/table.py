"""The audit as two Markdown tables, one for pictures and one for shapes, with what each control must be seen by in bold."""

from metrics.audit.audit import Audit, AuditConfig
from metrics.audit.gates import GATES, SEEN_BY
from metrics.audit.law_controls import law_controls
from metrics.audit.shape_controls import shape_controls
from training.data.toyworld.world import Toyworld

LAW_COLUMNS = (
    'finite', 'fd_photo', 'fd_oracle', 'precision', 'recall', 'coverage', 'class_kl', 'mode_kl', 'duplicates', 'memorising', 'vendi', 'sw_raw',
    'sw_aligned', 'pose_spread', 'alignment',
)
SHAPE_COLUMNS = (
    'slope', 'thickness_relative', 'depth_std', 'depth_r', 'depth_scale', 'depth_residual', 'normals', 'hollow', 'hollow_agreement', 'nfs_frame',
    'nfs_object', 'reprojection', 'reprojection_coverage', 'view_cosine', 'view_mode',
)
AS_MULTIPLES = ('fd_photo', 'fd_oracle')  # shown as multiples of the mean over real splits


def as_markdown(audit: Audit, config: AuditConfig) -> str:
    """Both tables and the verdict."""
    world = Toyworld()
    real = [name for name in audit.values if name not in SEEN_BY]
    parts = []
    for columns, subjects in ((LAW_COLUMNS, law_controls(world)), (SHAPE_COLUMNS, shape_controls(world))):
        heads = [f'{name} (x real)' if name in AS_MULTIPLES else name for name in columns]
        rows = ['| subject | ' + ' | '.join(heads) + ' |', '|---' * (len(columns) + 1) + '|']
        for name in [*real, *(subject.name for subject in subjects)]:
            rows.append(f'| {name} | ' + ' | '.join(_cell(audit, name, column) for column in columns) + ' |')
        parts.append('\n'.join(rows))
    sizes = f'{config.images} pictures, {config.shapes} shapes and {config.pairs} pairs of views each, style {config.style}, oracle {config.oracle_seed}'
    verdict = [f'{len(SEEN_BY)} controls, {len(real)} real splits; {sizes}.']
    verdict += [f'MISSED: {name} does not see {control!r} (gate {GATES.get(name)}).' for control, name in audit.missed]
    verdict += [f'FALSE ALARM: {name} flags {split!r}.' for split, name in audit.false_alarms]
    verdict.append('E0 is green.' if audit.green else 'E0 is RED: no table of results means anything until this is mended.')
    return '\n\n'.join([*parts, '\n'.join(verdict)])


def _cell(audit: Audit, subject: str, column: str) -> str:
    value = audit.values[subject][column]
    if isinstance(value, str):
        return '-'
    shown = value / audit.real[column].mean if column in AS_MULTIPLES and column in audit.real else value
    text = f'{shown:.3g}'
    return f'**{text}**' if column in SEEN_BY.get(subject, ()) else text
