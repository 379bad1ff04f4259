// Search for CT series on the DICOMweb server, and fetch them.
import { ask, guarded, make, say } from "./common.js";

const form = document.getElementById("archive-search");
const table = document.getElementById("archive-series");

function row(found) {
  const button = make("button", { type: "button", textContent: "Fetch and analyse" });
  button.setAttribute("aria-label", `Fetch and analyse ${found.patient} ${found.description}`);
  button.addEventListener("click", guarded(async () => {
    button.disabled = true;
    button.textContent = "Fetching …";
    try {
      await ask("/api/archive", { method: "POST", body: new URLSearchParams({ study: found.study, series: found.series }) });
      button.textContent = "Fetched";
      say("The series was fetched and will be analysed");
    } catch (error) {
      button.disabled = false;
      button.textContent = "Fetch and analyse";
      throw error;
    }
  }));
  return make("tr", {},
    make("td", {}, make("div", { textContent: found.patient }), make("div", { className: "note", textContent: `ID ${found.patient_id}` })),
    make("td", { textContent: found.study_date }), make("td", { textContent: found.description }),
    make("td", { textContent: found.images ?? "" }), make("td", { className: "actions" }, button));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(async () => {
    const { series } = await ask(`/api/archive?${new URLSearchParams(new FormData(form))}`);
    table.tBodies[0].replaceChildren(...series.map(row));
    table.hidden = !series.length;
    document.getElementById("archive-empty").hidden = series.length > 0;
  })();
});
