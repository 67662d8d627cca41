"""One function a kind of panel: arrays and an axis in, the artist out; nothing loads or saves."""

from seams.plotting.annealing import plot_schedule_curves, plot_schedules, plot_tradeoff
from seams.plotting.groups import GroupPanel, plot_group_panels, plot_groups
from seams.plotting.images import plot_images
from seams.plotting.intervention import plot_change, plot_changes
from seams.plotting.kinds import (
    plot_grid_of_curves,
    plot_kind_curves,
    plot_kind_panels,
    plot_kinds,
    plot_sweep,
    plot_unit_diagonals,
    use_log_ticks,
)
from seams.plotting.manifold import (
    plot_density,
    plot_ellipses,
    plot_marginal,
    plot_path,
    plot_surface,
    plot_vectors,
    use_view,
)
from seams.plotting.optimum import (
    plot_refinement,
    plot_sides,
    plot_term_scores,
    plot_terms,
)
from seams.plotting.recovery import (
    plot_arm_scores,
    plot_arms,
    plot_dial,
    plot_ends,
    plot_exponents,
    plot_fan,
    plot_generators,
    plot_times,
    use_ratios,
)
from seams.plotting.region import plot_distances
from seams.plotting.scores import (
    plot_against_beta,
    plot_curves,
    plot_information,
    plot_magnitude,
    plot_moving_beta,
    plot_unit_diagonal,
)
from seams.plotting.style import (
    BETA,
    COLOURS,
    CURVES,
    DENSITY,
    beta_label,
    use_style,
)

__all__ = [
    "BETA",
    "COLOURS",
    "CURVES",
    "DENSITY",
    "GroupPanel",
    "beta_label",
    "plot_against_beta",
    "plot_arm_scores",
    "plot_arms",
    "plot_change",
    "plot_changes",
    "plot_curves",
    "plot_density",
    "plot_dial",
    "plot_distances",
    "plot_ellipses",
    "plot_ends",
    "plot_exponents",
    "plot_fan",
    "plot_generators",
    "plot_grid_of_curves",
    "plot_group_panels",
    "plot_groups",
    "plot_images",
    "plot_information",
    "plot_kind_curves",
    "plot_kind_panels",
    "plot_kinds",
    "plot_magnitude",
    "plot_marginal",
    "plot_moving_beta",
    "plot_path",
    "plot_refinement",
    "plot_schedule_curves",
    "plot_schedules",
    "plot_sides",
    "plot_surface",
    "plot_sweep",
    "plot_term_scores",
    "plot_terms",
    "plot_times",
    "plot_tradeoff",
    "plot_unit_diagonal",
    "plot_unit_diagonals",
    "plot_vectors",
    "use_log_ticks",
    "use_ratios",
    "use_style",
    "use_view",
]
