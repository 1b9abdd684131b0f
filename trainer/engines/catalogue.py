"""Which engines there are, and which of them are installed."""

from importlib.util import find_spec

from dagstore.errors import Unavailable
from trainer.engines.core import Engine, Needs

LOCAL = "local"
LIBRARIES = {"ray": "ray", "slurm": "submitit"}
"""The engines for clusters, each with the library that it needs, which is an extra of the same name as the engine."""
ENGINES = (LOCAL, *LIBRARIES)


def is_installed(name: str) -> bool:
    """Whether an engine for clusters can be used here, as far as its library goes. Imports nothing."""
    return find_spec(LIBRARIES[name]) is not None


def remedy(name: str) -> str:
    """How to install what an engine needs."""
    return f"install it: pip install 'dagstore[{name}]'"


def make_engine(name: str, needs: Needs) -> Engine:
    """The engine of that name for a cluster, connected to it; `Unavailable` if it is not installed or not there."""
    if not is_installed(name):
        raise Unavailable(f"--engine {name} needs {LIBRARIES[name]}, which is not installed", hint=remedy(name))
    if name == "ray":
        from trainer.engines.ray_cluster import RayEngine

        return RayEngine(needs)
    from trainer.engines.slurm_cluster import SlurmEngine

    return SlurmEngine(needs)
