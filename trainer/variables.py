"""Which variables of its trainer an experiment gets: an allow list, since nobody can name every secret."""

import re
from collections.abc import Iterable, Mapping

_NAMES = frozenset(
    {
        *("PATH", "LANG", "LANGUAGE", "TZ", "TERM", "USER", "LOGNAME", "HOME", "SHELL"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "LIBRARY_PATH", "CPATH", "CC", "CXX", "VIRTUAL_ENV", "CONDA_PREFIX"),
        *("HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "WANDB_MODE", "NO_COLOR"),
    }
)
_PREFIXES = (
    *("LC_", "PYTHON", "UV_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "GLOO_", "TORCH", "PYTORCH_"),
    *("TRITON_", "XLA_", "JAX_", "TF_", "HIP_", "HSA_", "ROCR_", "ROCM_", "AMD_", "MIOPEN_", "ONEAPI_"),
    *("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "BLIS_", "NUMEXPR_", "VECLIB_", "MALLOC_"),
)
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir")
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|_KEY\b|_AUTH|INDEX", re.IGNORECASE)
"""`INDEX` for the addresses of package indexes, which may hold a password."""
_WRITTEN = re.compile(r".*_CACHE_DIR|UV_CACHE_DIR|PYTHONUSERBASE|PYTHONPYCACHEPREFIX|PYTHONHISTFILE")
"""Places outside that would be written to: what one experiment leaves there, the next one would believe."""


def allowed(environ: Mapping[str, str], more: Iterable[str], *, network: bool) -> dict[str, str]:
    """The variables of `environ` that an experiment may see: the usual ones, and `more` whatever they hold.

    Proxies are among the usual ones where there is a network.
    """
    asked = frozenset(more)
    return {name: value for name, value in environ.items() if name in asked or _is_usual(name, network=network)}


def _is_usual(name: str, *, network: bool) -> bool:
    if name.lower() in _PROXIES:
        return network
    known = name in _NAMES or name.startswith(_PREFIXES)
    return known and not _SECRET.search(name) and not _WRITTEN.fullmatch(name)
