"""What a run is: profiles, notebooks under papermill, manifests, reports, the machine, the base.

The names below are what the other rooms and the notebooks use: a `Step` checks what it reads,
stages what it writes, and is recorded when it is complete.
"""

from medisum_utils.runs.steps import (
    PRIVACY_FILE as PRIVACY_FILE,
)
from medisum_utils.runs.steps import (
    SPLIT_MANIFEST as SPLIT_MANIFEST,
)
from medisum_utils.runs.steps import (
    Step as Step,
)
from medisum_utils.runs.steps import (
    adapter_dir as adapter_dir,
)
from medisum_utils.runs.steps import (
    check_free_disk as check_free_disk,
)
from medisum_utils.runs.steps import (
    check_gpu as check_gpu,
)
from medisum_utils.runs.steps import (
    check_memory as check_memory,
)
from medisum_utils.runs.steps import (
    environment_table as environment_table,
)
from medisum_utils.runs.steps import (
    git_commit as git_commit,
)
from medisum_utils.runs.steps import (
    keep_private as keep_private,
)
from medisum_utils.runs.steps import (
    privacy_file as privacy_file,
)
from medisum_utils.runs.steps import (
    processed_dir as processed_dir,
)
from medisum_utils.runs.steps import (
    project_root as project_root,
)
from medisum_utils.runs.steps import (
    read_manifest as read_manifest,
)
from medisum_utils.runs.steps import (
    read_split_manifest as read_split_manifest,
)
from medisum_utils.runs.steps import (
    report_dir as report_dir,
)
from medisum_utils.runs.steps import (
    reports_with_text as reports_with_text,
)
from medisum_utils.runs.steps import (
    require as require,
)
from medisum_utils.runs.steps import (
    resolve as resolve,
)
from medisum_utils.runs.steps import (
    seed_everything as seed_everything,
)
from medisum_utils.runs.steps import (
    sha256_file as sha256_file,
)
from medisum_utils.runs.steps import (
    shown_path as shown_path,
)
from medisum_utils.runs.steps import (
    start as start,
)
from medisum_utils.runs.steps import (
    text_is_shown as text_is_shown,
)
from medisum_utils.runs.steps import (
    versions as versions,
)
from medisum_utils.runs.steps import (
    write_json as write_json,
)
from medisum_utils.runs.steps import (
    write_manifest as write_manifest,
)
