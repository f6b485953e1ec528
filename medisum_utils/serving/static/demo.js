// The demo page: sends the conversation to /generate and shows the note. Text is
// inserted as text, never as HTML, and is not stored.
"use strict";

const EXAMPLE = [
  "Doctor: Good morning, what brings you in today?",
  "Patient: I've had a cough for three... no, four days.",
  "Doctor: Any fever?",
  "Patient: No fever, but my throat hurts in the morning.",
  "Doctor: Do you take any medicines?",
  "Patient: Just lisinopril, ten milligrams once a day.",
  "Doctor: Your lungs sound clear and your temperature is 37.1.",
  "Doctor: This looks like a cold. Drink plenty, and come back if you get short of breath.",
].join("\n");

const byId = (id) => document.getElementById(id);
let running = null; // the AbortController of the current request
let lastNote = "";

function showSections(answer) {
  const { sections, assessment_and_plan, unknown } = answer;
  const texts = { ...sections, assessment_and_plan, unknown };
  // One header may stand for both; then neither is missing.
  const optional = ["assessment_and_plan", "unknown"];
  if (assessment_and_plan) optional.push("assessment", "plan");
  for (const place of document.querySelectorAll("[data-section]")) {
    const name = place.dataset.section;
    const text = texts[name];
    place.textContent = text || "The model wrote nothing here.";
    place.classList.toggle("empty", !text);
    place.parentElement.hidden = !text && optional.includes(name);
  }
  byId("note").hidden = false;
}

function setBusy(busy) {
  byId("send").disabled = busy;
  byId("stop").hidden = !busy;
}

async function reasonOf(response) {
  try {
    return (await response.json()).detail;
  } catch {
    return `The server answered ${response.status} without a reason.`;
  }
}

async function send() {
  if (running) return;
  running = new AbortController();
  const started = performance.now();
  const seconds = () => ((performance.now() - started) / 1000).toFixed(1);
  byId("error").textContent = "";
  byId("note").hidden = true;
  byId("progress").textContent = "Writing… this may take a while on a CPU.";
  setBusy(true);
  try {
    const response = await fetch("/generate", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ dialogue: byId("dialogue").value }),
      signal: running.signal,
    });
    if (!response.ok) throw new Error(await reasonOf(response));
    const answer = await response.json();
    lastNote = answer.soap_note;
    showSections(answer);
    const cut = answer.finished ? "" : " The note was cut off at the token limit.";
    byId("progress").textContent = `Written by ${answer.model} in ${seconds()} s.${cut}`;
  } catch (error) {
    byId("progress").textContent = "No note.";
    const stopped = error.name === "AbortError";
    byId("error").textContent = stopped ? "Stopped." : error.message;
  } finally {
    running = null;
    setBusy(false);
  }
}

async function showHealth() {
  let text = "The server does not answer.";
  let again = true;
  try {
    const health = await (await fetch("/health")).json();
    again = health.status !== "ok";
    byId("remark").textContent = health.remark;
    byId("remark").hidden = !health.remark;
    text = again ? `Not ready: ${health.reason}.` : `Ready: ${health.model}.`;
  } catch {
    // the server is down or starting: the page says so and asks again
  }
  byId("health").textContent = text;
  if (again) setTimeout(showHealth, 3000);
}

async function copyNote() {
  try {
    await navigator.clipboard.writeText(lastNote);
    byId("copy").textContent = "Copied";
  } catch {
    byId("copy").textContent = "The browser does not allow copying";
  }
  setTimeout(() => { byId("copy").textContent = "Copy the whole note"; }, 2000);
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
byId("dialogue").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
});
byId("stop").addEventListener("click", () => running && running.abort());
byId("copy").addEventListener("click", copyNote);
byId("example").addEventListener("click", () => {
  byId("dialogue").value = EXAMPLE;
  byId("dialogue").focus();
});
showHealth();
