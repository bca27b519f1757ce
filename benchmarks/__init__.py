"""The questions: one file each, and contrasts for published findings. Importing this package registers them; nothing
else keeps a list."""

if __name__ != "toybed.benchmarks":
    raise ImportError(f"import this package as toybed.benchmarks, not as {__name__}: it would be a second copy")

from toybed.benchmarks import access_or_ability as access_or_ability
from toybed.benchmarks import architecture as architecture
from toybed.benchmarks import belief_shortcuts as belief_shortcuts
from toybed.benchmarks import critique_feedback as critique_feedback
from toybed.benchmarks import deploy_or_create as deploy_or_create
from toybed.benchmarks import dialogue_collapse as dialogue_collapse
from toybed.benchmarks import ensembles as ensembles
from toybed.benchmarks import entropy_law as entropy_law
from toybed.benchmarks import entropy_mechanism as entropy_mechanism
from toybed.benchmarks import entropy_schedules as entropy_schedules
from toybed.benchmarks import findings_agents as findings_agents
from toybed.benchmarks import findings_breadth as findings_breadth
from toybed.benchmarks import findings_law as findings_law
from toybed.benchmarks import findings_remedies as findings_remedies
from toybed.benchmarks import findings_weights as findings_weights
from toybed.benchmarks import held_entropy as held_entropy
from toybed.benchmarks import interventions as interventions
from toybed.benchmarks import law_constants as law_constants
from toybed.benchmarks import pass_at_k_crossing as pass_at_k_crossing
from toybed.benchmarks import reversibility as reversibility
from toybed.benchmarks import same_at_ratio_one as same_at_ratio_one
from toybed.benchmarks import search_squeeze as search_squeeze
from toybed.benchmarks import several_objectives as several_objectives
from toybed.benchmarks import shortcut_pressure as shortcut_pressure
from toybed.benchmarks import sizes as sizes
from toybed.benchmarks import sparse_updates as sparse_updates
from toybed.benchmarks import trace_collapse as trace_collapse
from toybed.benchmarks import two_phases as two_phases
from toybed.benchmarks import vector_rewards as vector_rewards
