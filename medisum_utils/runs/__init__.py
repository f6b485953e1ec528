"""What a run is: profiles, notebooks under papermill, manifests, reports, the machine, the base.

The names below are what the other rooms and the notebooks use: a `Step` checks what it reads,
stages what it writes, and is recorded when it is complete. `profiles` checks a profile's keys
against the notebooks' parameters. 01_data decides whether text may be shown in the reports of a
run; `text_is_shown` reads that decision.
"""

from medisum_utils.runs.files import sha256_file as sha256_file, write_json as write_json
from medisum_utils.runs.machine import (
    check_free_disk as check_free_disk,
    check_gpu as check_gpu,
    check_memory as check_memory,
    environment_table as environment_table,
    git_commit as git_commit,
    versions as versions,
)
from medisum_utils.runs.paths import (
    adapter_dir as adapter_dir,
    processed_dir as processed_dir,
    project_root as project_root,
    report_dir as report_dir,
    resolve as resolve,
    shown_path as shown_path,
)
from medisum_utils.runs.privacy import (
    PRIVACY_FILE as PRIVACY_FILE,
    SPLIT_MANIFEST as SPLIT_MANIFEST,
    ignore_in_git as ignore_in_git,
    privacy_file as privacy_file,
    read_split_manifest as read_split_manifest,
    reports_with_text as reports_with_text,
    test_sources as test_sources,
    text_is_shown as text_is_shown,
)
from medisum_utils.runs.steps import (
    Step as Step,
    read_manifest as read_manifest,
    require as require,
    seed_everything as seed_everything,
    start as start,
    write_manifest as write_manifest,
)
