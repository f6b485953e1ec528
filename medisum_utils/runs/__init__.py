"""What a run is: profiles, notebooks under papermill, manifests, reports, the machine, the base.

The names below are what the other rooms and the notebooks use: a `Step` checks what it reads,
stages what it writes, and is recorded when it is complete. `profiles` checks a profile's keys
against the notebooks' parameters. 01_data decides whether text may be shown in the reports of a
run; `text_is_shown` reads that decision.
"""

from medisum_utils.runs.steps import (
    PRIVACY_FILE as PRIVACY_FILE,
    SPLIT_MANIFEST as SPLIT_MANIFEST,
    Step as Step,
    adapter_dir as adapter_dir,
    check_free_disk as check_free_disk,
    check_gpu as check_gpu,
    check_memory as check_memory,
    environment_table as environment_table,
    git_commit as git_commit,
    keep_private as keep_private,
    privacy_file as privacy_file,
    processed_dir as processed_dir,
    project_root as project_root,
    read_manifest as read_manifest,
    read_split_manifest as read_split_manifest,
    report_dir as report_dir,
    reports_with_text as reports_with_text,
    require as require,
    resolve as resolve,
    seed_everything as seed_everything,
    sha256_file as sha256_file,
    shown_path as shown_path,
    start as start,
    text_is_shown as text_is_shown,
    versions as versions,
    write_json as write_json,
    write_manifest as write_manifest,
)
