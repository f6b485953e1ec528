# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 Serve: does the model answer as a service, and how fast?
#
# This notebook merges the adapter of 03 into its base, starts the project's HTTP server on a free
# port, asks it for the notes of held-out encounters as any client would, measures how long the
# answers take, and sends it what it must refuse.

# %% tags=["parameters"]
profile = "tiny"  # whose adapter is served: models/<profile>/
seed = 17  # chooses the encounters
test_split = ""  # such as "test"; empty: the first test that 01 made
n_alone = 4  # requests sent one after the other
n_requests = 8  # requests sent by n_clients at once
n_clients = 4  # clients that wait for an answer before they ask again
max_batch = 8  # notes written at once
max_waiting = 32  # requests that may wait before the server says 429
n_shown = 2  # answers shown in full, where 01 says that text may be shown
n_visits = 0  # visits typed by hand, of data/visits, that it writes notes of; there are 12
port = 0  # 0 takes a free one
keep_running = False  # true: the server stays up as long as this kernel

# %%
import functools
import html
import time
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import requests
from IPython.display import HTML, Markdown, display

from medisum_utils import figures, runs
from medisum_utils.clutter import silence_clutter
from medisum_utils.data.sources import is_generated
from medisum_utils.data.typed_visits import read_visits
from medisum_utils.encounter import read_jsonl
from medisum_utils.modelling.checkpoints import ADAPTER_AND_BESIDE
from medisum_utils.modelling.decoding import DECODING_FILE, read_decoding
from medisum_utils.runs import profiles
from medisum_utils.runs.overview import EXAMPLE_FILE
from medisum_utils.serving import hand_counts
from medisum_utils.serving.app import create_app, n_soap_sections
from medisum_utils.serving.background import BackgroundServer
from medisum_utils.serving.checks import Limits, is_accepted
from medisum_utils.serving.engine import Engine
from medisum_utils.serving.remarks import data_remark
from medisum_utils.serving.writer import load_writer

figures.use_style()
runs.seed_everything(seed)
silence_clutter()

# %% [markdown]
# ## The answer first
#
# The sentence below is filled in by the last cells, from what was measured.

# %%
answer = display(Markdown("*Being measured.*"), display_id=True)

# %% [markdown]
# ## What is needed
#
# A test split of 01, the adapter of 03, and the decoding with which 04 scored it: what is served is
# what was scored. If one is missing, the error says which notebook makes it: without a model there
# is nothing to serve.

# %%
show_text = runs.text_is_shown(profile)
test_split = test_split or runs.read_split_manifest(profile)["tests"][0]
test_path = runs.require(runs.processed_dir(profile) / f"{test_split}.jsonl", "01_data", profile)
adapter = runs.adapter_dir(profile)
makers = dict.fromkeys(ADAPTER_AND_BESIDE, "03_qlora_train") | {DECODING_FILE: "04_eval"}
model_files = [runs.require(adapter / name, maker, profile) for name, maker in makers.items()]
parameters = profiles.parameters_in("05_serve", globals())
inputs = [test_path, runs.privacy_file(profile), *model_files]
step = runs.start("05_serve", profile, parameters, inputs)
decoding = read_decoding(adapter)

# %% [markdown]
# ## The server starts
#
# One thread owns the model. It loads while the server already answers: `/health` says *loading*
# and `/generate` answers 503 until the model is there. uvicorn runs in a thread beside this kernel,
# since a notebook has a running event loop of its own.

# %%
load = functools.partial(load_writer, profile)
engine = Engine(load, max_waiting=max_waiting, max_batch=max_batch)
started = time.perf_counter()
server = BackgroundServer(create_app(engine, remark=data_remark(profile)), port=port).start()
http = requests.Session()
http.trust_env = False  # a proxy of this machine's network must not see a call to itself
first_health = http.get(f"{server.url}/health", timeout=10)

# %%
engine.wait_until_loaded(timeout_s=1800)
loading_s = time.perf_counter() - started
health = http.get(f"{server.url}/health", timeout=10)
asked = {"at once": first_health, f"after {loading_s:.1f} s": health}
answers = {when: {"HTTP status": r.status_code, **r.json()} for when, r in asked.items()}
columns = ["HTTP status", "status", "reason", "model"]
pd.DataFrame.from_dict(answers, "index")[columns].fillna("").rename_axis("asked")

# %% [markdown]
# The encounters are drawn without replacement; the first ones are asked alone, the others together.
# Where there are fewer than requests, they are asked again in turn. What the server would refuse,
# such as a dialogue too long for the model, is left out and counted.

# %%
encounters = read_jsonl(test_path)
writer = engine.require_ready()
served = [each for each in encounters if is_accepted(each.dialogue_text, Limits(), writer)]
if not served:
    raise ValueError(f"expected dialogues that the server accepts in {test_split}, got none")
order = np.random.default_rng(seed).permutation(len(served))
chosen = [served[i] for i in np.resize(order, n_alone + n_requests)]
n_chosen = len({encounter.id for encounter in chosen})
Markdown(
    f"{len(chosen)} requests about {n_chosen} encounters of `{test_split}` "
    f"({len(encounters) - len(served)} of {len(encounters)} would be refused); notes of at "
    f"most {decoding.max_new_tokens} tokens, decoded as 04 scored them."
)

# %% [markdown]
# ## One question, one answer
#
# A client sends a dialogue as JSON and gets the note, whole and by section. The time runs from
# sending the request to having read the answer.


# %%
def ask(dialogue):
    """The server's answer to one dialogue, with its seconds."""
    begun = time.perf_counter()
    body = {"dialogue": dialogue}
    reply = http.post(f"{server.url}/generate", json=body, timeout=600)
    return {"status": reply.status_code, "answer": reply.json(), "s": time.perf_counter() - begun}


# %%
alone = [ask(encounter.dialogue_text) for encounter in chosen[:n_alone]]
assert all(reply["status"] == 200 for reply in alone), [reply["status"] for reply in alone]
answered = [
    {
        "latency (s)": round(reply["s"], 2),
        "note (words)": len(reply["answer"]["soap_note"].split()),
        "sections written": n_soap_sections(reply["answer"]),
        "finished": reply["answer"]["finished"],
    }
    for reply in alone
]
pd.DataFrame(answered, index=pd.RangeIndex(1, n_alone + 1, name="request"))

# %% [markdown]
# ### What it wrote
#
# The answer of the server beside the note that the encounter came with; not chosen for quality,
# but the first ones drawn. The very first goes, with its dialogue, to the index of reports, but
# only if it is generated: of any other text no file is kept.


# %%
def side_by_side(encounter, reply):
    """Reference and answer in two columns, as HTML."""
    texts = (encounter.note_text, reply["answer"]["soap_note"])
    cells = "".join(f"<td style='white-space:pre-wrap'>{html.escape(text)}</td>" for text in texts)
    head = "<tr><th>reference note</th><th>answer</th></tr>"
    table = f"<table style='table-layout:fixed;width:100%'>{head}<tr>{cells}</tr></table>"
    return f"<h4>{html.escape(encounter.id)}</h4>{table}"


# %%
if show_text:
    pairs = zip(chosen[:n_shown], alone, strict=False)
    display(HTML("".join(side_by_side(encounter, reply) for encounter, reply in pairs)))
else:
    display(Markdown("*No note of this data is shown: see `show_text` in 01.*"))
example, example_path = chosen[0], runs.report_dir(profile) / EXAMPLE_FILE
has_example = show_text and is_generated(example.source)
if has_example:
    texts = {"dialogue": example.dialogue_text, "note": alone[0]["answer"]["soap_note"]}
    runs.write_json(step.stage(example_path), {"id": example.id, **texts})

# %% [markdown]
# ## Visits typed by hand
#
# Short and plain, as a doctor would type them; no model was trained or chosen on them. Which facts
# the notes tell, and which statements are dangerous, was counted by a person.

# %%
visits = read_visits()[:n_visits] if n_visits else []
typed = [ask(visit.dialogue)["answer"]["soap_note"] for visit in visits]
if visits:
    counts = hand_counts.counted(visits, typed)
    display(Markdown(hand_counts.sentence(visits, counts)))
    display(HTML(hand_counts.as_html(visits, typed, counts)))
else:
    display(Markdown("*None was asked for: see `n_visits`.*"))

# %% [markdown]
# ## Several clients at once
#
# Requests that arrive while a batch is being written wait in a bounded queue and are then written
# together: the table says what that costs a client and what it brings all of them.

# %%
begun = time.perf_counter()
with ThreadPoolExecutor(n_clients) as clients:
    together = list(clients.map(ask, [each.dialogue_text for each in chosen[n_alone:]]))
together_s = time.perf_counter() - begun
assert all(reply["status"] == 200 for reply in together), [reply["status"] for reply in together]

# %%
loads = {
    "one at a time": (alone, sum(reply["s"] for reply in alone)),
    f"{n_clients} at once": (together, together_s),
}
latency = pd.DataFrame(
    {
        name: {
            "n": len(replies),
            "median (s)": np.median([reply["s"] for reply in replies]),
            "slowest (s)": max(reply["s"] for reply in replies),
            "notes per minute": 60 * len(replies) / wall_s,
        }
        for name, (replies, wall_s) in loads.items()
    }
).T.astype({"n": int})
latency.round(2)

# %% [markdown]
# The figure shows every single request, not a summary: with so few of them a percentile beyond the
# median would be a guess.

# %%
fig, ax = plt.subplots(figsize=(7, 2.4))
looks = [("#555555", "D"), (figures.colour_of("finetuned"), "o")]
for (name, (replies, _)), (colour, marker) in zip(loads.items(), looks, strict=True):
    label = f"{name} (n = {len(replies)})"
    seconds = np.sort([reply["s"] for reply in replies])
    share = np.arange(1, len(seconds) + 1) / len(seconds)
    ax.step(seconds, share, where="post", color=colour, marker=marker, ms=4, label=label)
ax.set(xlabel="time from request to answer (s)", xlim=(0, None))
ax.set(ylabel="share answered", ylim=(0, 1.05))
median_s = latency["median (s)"].iloc[-1]
ax.set_title(f"With {n_clients} clients at once, half of the answers took up to {median_s:.1f} s")
ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside the curves, never on them
figures.save(fig, step, "05_latency")

# %% [markdown]
# ## What it refuses
#
# A refusal says what was expected, has a request id for the log, and never repeats what was sent:
# an error message must not carry a patient's words into somebody's logs.

# %%
secret = "Mrs Zyxwv has xylophobia"
json_header = {"content-type": "application/json"}
bad_requests = {
    "no text": {"json": {"dialogue": " "}},
    "no conversation": {"json": {"dialogue": secret}},
    "too many characters": {"json": {"dialogue": f"Doctor: {secret}\n" * 4000}},
    "too many tokens": {"json": {"dialogue": f"Doctor: {secret}.\n" * 1500}},
    "too many bytes": {"json": {"dialogue": f"Doctor: {secret}\n" * 40_000}},
    "other field": {"json": {"text": f"Doctor: {secret}\nPatient: Yes."}},
    "not JSON": {"data": f"Doctor: {secret}".encode(), "headers": json_header},
    "not UTF-8": {"data": secret.encode("utf-16"), "headers": json_header},
}

# %%
refusals = {
    name: http.post(f"{server.url}/generate", timeout=60, **content)
    for name, content in bad_requests.items()
}
assert all(400 <= reply.status_code < 500 for reply in refusals.values())
assert not any(word in reply.text for reply in refusals.values() for word in secret.split()[1:])
answers = {r: {"HTTP status": refusals[r].status_code, **refusals[r].json()} for r in refusals}
table = pd.DataFrame.from_dict(answers, "index")[["HTTP status", "detail"]]
table.style.set_properties(**{"text-align": "left"})

# %% [markdown]
# ## Without a model
#
# The same server for a profile that was never trained. It has nothing to answer with, and says so.

# %%
absent = BackgroundServer(create_app(Engine(functools.partial(load_writer, "never-trained"))))
with absent:
    body = {"dialogue": "Doctor: How are you?\nPatient: Fine."}
    no_model = http.post(f"{absent.url}/generate", json=body, timeout=60)
assert no_model.status_code == 503, no_model.status_code
display(Markdown(f"**{no_model.status_code}** {no_model.json()['detail']}"))

# %% [markdown]
# ## The server stops
#
# Unless `keep_running` says otherwise. To keep one up outside a notebook:
# `python -m medisum_utils serve --profile NAME`; its first page is a demo to paste a conversation
# into, and `/docs` describes the interface.

# %%
ending = f"The server stays up at <{server.url}> until this kernel ends."
if not keep_running:
    server.stop()
    ending = "The server has stopped and its port is free again."
Markdown(ending)

# %%
replies = [*alone, *together]
n_whole = sum(n_soap_sections(reply["answer"]) == 4 for reply in replies)
n_cut = sum(not reply["answer"]["finished"] for reply in replies)
model = health.json()["model"]
entry = step.finish(
    obsolete=[] if has_example else [example_path],
    model=model,
    loading_s=round(loading_s, 2),
    n_answers=len(replies),
    n_with_all_sections=n_whole,
    n_cut=n_cut,
    latency=latency.round(3).to_dict(orient="index"),
    refusals={name: reply.status_code for name, reply in refusals.items()},
)
median_alone_s, median_together_s = latency["median (s)"]
pace_alone, pace = latency["notes per minute"]
answer.update(
    Markdown(
        f"**Yes.** `{model}` answered all {len(replies)} requests over HTTP: "
        f"{n_whole} notes have all four sections and {n_cut} reached the limit of "
        f"{decoding.max_new_tokens} tokens. Alone, the median answer took {median_alone_s:.1f} s; "
        f"with {n_clients} clients at once {median_together_s:.1f} s, at {pace:.0f} notes a "
        f"minute, {pace / pace_alone:.1f} times as many as alone. All {len(refusals)} bad "
        "requests were refused without repeating their text."
    )
)

# %% [markdown]
# ## Limits
#
# - The times are those of this machine, idle but for this notebook, and of notes of this length.
# - Nothing here says whether a note is right: 04 does. A fluent note can omit or invent facts, and
#   this server is a research demonstration, **not for clinical use**.
# - One process, one model, no login, no encryption: it listens on this machine only.
# - Notes are decoded as in 04, by the record that it wrote beside the adapter. On a GPU, in
#   bfloat16, the company in its batch can turn a near tie in a note; on a CPU, in float32, it does
#   not.
# - A client that leaves is dropped while it waits; a batch being written is finished for nobody.

# %%
cost = (
    f"This notebook took {entry['seconds']:.0f} s, {loading_s:.1f} s of them for loading; its "
    f"peak memory was {entry['peak_memory_gib']:.2f} GiB on `{entry['device']}`."
)
display(Markdown(cost))
runs.environment_table()
